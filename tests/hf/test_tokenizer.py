"""The exported tokenizer gives a prompt in one string the ids that mm1 gives its pieces, whatever kind it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, processors
from transformers import AutoTokenizer

from mm1.config import UserError
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.hf.chat_template import ESCAPE
from mm1.hf.tokenizer import SpecialTokens, write_tokenizer
from tests.sentence_piece import write_sentence_piece

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
    values = json.loads(path.read_text())
    for token in values["added_tokens"]:
        token |= {"lstrip": True, "rstrip": True}  # as Phi-3's: the spaces beside them would be lost
    path.write_text(json.dumps(values))
    names = {"pad_token": "<|pad|>", "eos_token": "<|endoftext|>", "image_token": "<|image|>", "bos_token": "<|begin|>"}
    path.with_name("tokenizer_config.json").write_text(json.dumps(names))


def spaced(path: Path) -> None:
    """Byte-level, with a space before texts."""
    with_beginning(path)
    values = json.loads(path.read_text())
    values["pre_tokenizer"]["add_prefix_space"] = True
    path.write_text(json.dumps(values))


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
    "metaspace first": lambda path: write_sentence_piece(path.parent, WORDS, "first"),
    "metaspace always": lambda path: write_sentence_piece(path.parent, WORDS, "always"),
    "metaspace never": lambda path: write_sentence_piece(path.parent, WORDS, "never"),
    "normalizer": lambda path: write_sentence_piece(path.parent, WORDS, "normalizer"),
    "byte level, spaced": spaced,
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
    for place, piece in enumerate(pieces):
        expected += [own.image_id] if piece is None else own.encode(piece, beginning=place == 0)
    assert theirs(prompt)["input_ids"] == expected


@given(text=texts)
def test_a_chat_opens_as_a_document_begins(pair, text):
    """Where the tokenizer is told to add nothing: with what `opening` says."""
    own, theirs, special = pair
    opened = special.opening + ("user: " + text).replace("<", f"<{ESCAPE}")
    expected = [] if own.bos_id is None else [own.bos_id]
    expected += own.encode("user: " + text, beginning=True)
    assert theirs(opened, add_special_tokens=False)["input_ids"] == expected


def test_spelled_special_tokens_stay_text_when_escaped_and_do_not_when_not(pair):
    own, theirs, special = pair
    for name in special.all:
        text = f"a {name}cat"
        escaped = "".join(
            character + ESCAPE if character in {other[0] for other in special.all} else character for character in text
        )
        assert theirs(escaped, add_special_tokens=False)["input_ids"] == own.encode(text, beginning=True)
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
