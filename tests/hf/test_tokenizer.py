"""The exported tokenizer gives a prompt in one string the ids that mm1 gives its pieces, whatever kind it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from mm1.config import UserError
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.hf.chat_template import ESCAPE
from mm1.hf.tokenizer import SpecialTokens, write_tokenizer

WORDS = ["user: what is this? assistant: a cat", " and a dog", "on the left of it < > | image pad"] * 3


def byte_level(path: Path) -> None:
    train_tokenizer(iter(WORDS), 300, path)


def with_beginning(path: Path) -> None:
    """As Llama 3's: byte-level, a token before every text, other special tokens besides."""
    train_tokenizer(iter(WORDS), 300, path)
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(["<|begin|>", "[TOOL]"])
    bos = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", bos)]),
        ]
    )
    tokenizer.save(str(path))
    names = {"pad_token": "<|pad|>", "eos_token": "<|endoftext|>", "image_token": "<|image|>", "bos_token": "<|begin|>"}
    path.with_name("tokenizer_config.json").write_text(json.dumps(names))


def sentence_piece(path: Path, prepend: str) -> None:
    """As Llama 2's and Mistral's: a word begins with a space, and a text begins with one even where it has none."""
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if prepend == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    letters = sorted(set("".join(WORDS)))
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    values = json.loads(tokenizer.to_str())
    ids = values["model"]["vocab"]
    ids.update({name: len(ids) + place for place, name in enumerate(bytes_)})
    for token in values["added_tokens"]:
        token["normalized"] = True  # as in the older of Llama's files
    path.write_text(json.dumps(values))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "image_token": "<image>", "bos_token": "<s>"}
    path.with_name("tokenizer_config.json").write_text(json.dumps(names))


def rewriting(path: Path) -> None:
    """One whose normalizer changes what special tokens are spelled with."""
    train_tokenizer(iter(WORDS), 300, path)
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.normalizer = normalizers.Replace("<|", "(")
    tokenizer.save(str(path))


KINDS = {
    "byte level": byte_level,
    "rewriting": rewriting,
    "with a beginning": with_beginning,
    "metaspace first": lambda path: sentence_piece(path, "first"),
    "metaspace always": lambda path: sentence_piece(path, "always"),
    "metaspace never": lambda path: sentence_piece(path, "never"),
    "normalizer": lambda path: sentence_piece(path, "normalizer"),
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory) -> tuple[Tokenizer, AutoTokenizer, SpecialTokens]:
    folder = tmp_path_factory.mktemp("tokenizer")
    KINDS[request.param](folder / "tokenizer.json")
    own = Tokenizer(folder / "tokenizer.json")
    (folder / "out").mkdir()
    special = write_tokenizer(own, folder / "out")
    return own, AutoTokenizer.from_pretrained(folder / "out"), special


texts = st.text(st.sampled_from("a cat<>|image\n é") | st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(texts | st.none(), max_size=5))
def test_ids_of_a_prompt_in_one_string(pair, pieces):
    own, theirs, special = pair
    pieces = [piece for place, piece in enumerate(pieces) if piece is None or not place or pieces[place - 1] is None]
    pieces = [piece for piece in pieces if piece is None or not any(name in piece for name in special.all)]
    prompt = "".join(special.image if piece is None else piece.replace("<", f"<{ESCAPE}") for piece in pieces)
    expected = [] if own.bos_id is None else [own.bos_id]
    for piece in pieces:
        expected += [own.image_id] if piece is None else own.encode(piece)
    assert theirs(prompt)["input_ids"] == expected


def test_spelled_special_tokens_stay_text_when_escaped_and_do_not_when_not(pair):
    own, theirs, special = pair
    for name in special.all:
        text = f"a {name}cat"
        escaped = "".join(
            character + ESCAPE if character in {other[0] for other in special.all} else character for character in text
        )
        assert theirs(escaped, add_special_tokens=False)["input_ids"] == own.encode(text)
        assert theirs.convert_tokens_to_ids(name) in theirs(text)["input_ids"]


def test_special_tokens_have_their_places(pair):
    own, theirs, special = pair
    ids = (theirs.pad_token_id, theirs.eos_token_id, theirs.bos_token_id, theirs.image_token_id)
    assert ids == (own.pad_id, own.eos_id, own.bos_id, own.image_id)
    assert theirs.image_token == special.image
    assert theirs.padding_side == "left"
    assert theirs.decode(own.encode("a cat")) == own.decode(own.encode("a cat"))


def test_mm1_reads_the_exported_tokenizer_too(pair):
    own, theirs, _ = pair
    again = Tokenizer(Path(theirs.name_or_path) / "tokenizer.json")
    assert (again.pad_id, again.eos_id, again.image_id, again.bos_id) == (
        own.pad_id,
        own.eos_id,
        own.image_id,
        own.bos_id,
    )


def test_special_tokens_of_one_character_are_refused(tmp_path):
    byte_level(tmp_path / "tokenizer.json")
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    library.add_special_tokens([AddedToken("¶", special=True)])
    library.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="special token '¶', which no text can be kept from spelling"):
        write_tokenizer(Tokenizer(tmp_path / "tokenizer.json"), tmp_path)
