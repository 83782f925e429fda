"""Tokenizers of Hugging Face in mm1, against AutoTokenizer; and byte for byte back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.data.tokenizer import Tokenizer
from mm1.hf.folder import HFFolder
from mm1.hf.source import KEPT, recall
from mm1.hf.vocabulary import adopt, restore
from tests.hf.decoder_cases import TEXT, write_tokenizer
from tests.sentence_piece import write_sentence_piece

Adopted = tuple[Path, Tokenizer, int]


@pytest.fixture
def adopted(tmp_path: Path) -> Callable[..., Adopted]:
    """Writes a folder by `write_tokenizer` and adopts it: (folder, mm1's tokenizer, number of ids)."""

    def make(change: Callable[[Path], object] = lambda folder: None, **options: object) -> Adopted:
        folder, out = tmp_path / "theirs", tmp_path / "ours"
        folder.mkdir()
        out.mkdir()
        (folder / "config.json").write_text('{"model_type": "llama", "eos_token_id": 1}')
        write_tokenizer(folder, **options)  # type: ignore[arg-type]
        change(folder)
        count = adopt(HFFolder(folder), out)
        return folder, Tokenizer(out / "tokenizer.json"), count

    return make


def test_missing_tokens_get_new_ids_at_the_end(adopted: Callable[..., Adopted]) -> None:
    folder, tokenizer, count = adopted()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.pad_id, tokenizer.image_id) == (len(theirs), len(theirs) + 1)
    assert tokenizer.eos_id == theirs.eos_token_id
    assert count == len(theirs) + 2 == tokenizer.vocab_size


@pytest.mark.parametrize("bos", [False, True])
def test_a_beginning_is_there_only_where_transformers_puts_one(bos: bool, adopted: Callable[..., Adopted]) -> None:
    folder, tokenizer, _ = adopted(bos=bos)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs.bos_token == "<s>"  # whether it is used or not
    expected = theirs("a red circle").input_ids
    assert ([] if tokenizer.bos_id is None else [tokenizer.bos_id]) + tokenizer.encode("a red circle") == expected


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30))
def test_texts_get_the_ids_of_transformers(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    global _PAIR
    if _PAIR is None:
        folder, out = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
        (folder / "config.json").write_text("{}")
        write_tokenizer(folder)
        adopt(HFFolder(folder), out)
        _PAIR = transformers.AutoTokenizer.from_pretrained(folder), Tokenizer(out / "tokenizer.json")
    theirs, ours = _PAIR
    assert ours.encode(text) == theirs(text, split_special_tokens=True).input_ids


_PAIR = None


def test_no_text_can_spell_a_special_token(adopted: Callable[..., Adopted]) -> None:
    _, tokenizer, _ = adopted(bos=True)
    special = {tokenizer.pad_id, tokenizer.image_id, tokenizer.eos_id, tokenizer.bos_id}
    for text in ("<|image|>", "<|pad|>", "</s>", "<s>", "a<|image|>b"):
        assert not special & set(tokenizer.encode(text)), text
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_padding_token_of_its_own_is_taken_and_one_with_another_meaning_is_not(
    adopted: Callable[..., Adopted],
) -> None:
    _, tokenizer, count = adopted(pad="<|reserved|>")
    assert tokenizer.pad_id == 2
    assert count == tokenizer.image_id + 1


@pytest.mark.parametrize("pad", ["</s>", "<gone>"])
def test_a_padding_token_that_ends_texts_or_is_not_there_is_replaced(pad: str, adopted: Callable[..., Adopted]) -> None:
    _, tokenizer, count = adopted(pad=pad)
    assert tokenizer.pad_id == count - 2


def test_spellings_that_the_vocabulary_has_keep_their_meaning(adopted: Callable[..., Adopted]) -> None:
    def spell(folder: Path) -> None:
        text = (folder / "tokenizer.json").read_bytes().decode()
        (folder / "tokenizer.json").write_bytes(text.replace("<|reserved|>", "<|image|>").encode())

    _, tokenizer, count = adopted(spell)
    assert tokenizer.image_id == count - 1 != 2


def test_the_end_of_text_may_be_named_by_the_model_only(adopted: Callable[..., Adopted]) -> None:
    _, tokenizer, _ = adopted(lambda folder: (folder / "tokenizer_config.json").unlink())
    assert tokenizer.eos_id == 1


@pytest.mark.parametrize("bos", [False, True])
def test_what_was_adopted_goes_back_byte_for_byte(bos: bool, adopted: Callable[..., Adopted], tmp_path: Path) -> None:
    def more(folder: Path) -> None:
        (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
        (folder / "chat_template.jinja").write_text("{{ messages }}")

    folder, tokenizer, _ = adopted(more, bos=bos)
    source = recall(tokenizer.path.parent)
    assert source is not None
    (tmp_path / "back").mkdir()
    restore(tokenizer.path.parent, source, tmp_path / "back")
    expected = {name for name in (*KEPT, "tokenizer.json") if (folder / name).exists()} - {"config.json"}
    assert {file.name for file in (tmp_path / "back").iterdir()} == expected
    for name in expected:
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("prefix", ["normalizer", "first"])
def test_one_that_puts_a_space_before_texts_goes_back_too_and_begins_texts_as_transformers(
    prefix: str, adopted: Callable[..., Adopted], tmp_path: Path
) -> None:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    folder, tokenizer, _ = adopted(lambda folder: write_sentence_piece(folder, TEXT, prefix, special, bos=True))
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    whole = theirs("a red circle stands").input_ids
    assert [tokenizer.bos_id, *tokenizer.encode("a red", True), *tokenizer.encode(" circle stands")] == whole
    source = recall(tokenizer.path.parent)
    assert source is not None
    restore(tokenizer.path.parent, source, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_a_tokenizer_changed_since_is_not_taken_for_the_imported_one(
    adopted: Callable[..., Adopted], tmp_path: Path
) -> None:
    _, tokenizer, _ = adopted()
    source = recall(tokenizer.path.parent)
    assert source is not None
    text = tokenizer.path.read_text()
    tokenizer.path.write_text(text.replace('"content": "<|image|>"', '"content": "<|picture|>"'))
    with pytest.raises(UserError, match=r"does not end its added_tokens with <\|pad\|>, <\|image\|>"):
        restore(tokenizer.path.parent, source, tmp_path)


def _other_prefix(folder: Path) -> None:
    write_sentence_piece(folder, TEXT, "normalizer", {"bos_token": "<s>", "eos_token": "</s>"})
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"prepend": "▁"', '"prepend": "_"'))


def _drop_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _no_end(folder: Path, index: int | None = None) -> None:
    (folder / "config.json").write_text(json.dumps({"eos_token_id": index}))
    (folder / "tokenizer_config.json").write_text("{}")


def _unknown_end(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<end>"}')


def _holes(folder: Path) -> None:
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["vocab"]["é"] = 900
    (folder / "tokenizer.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (_drop_tokenizer, r"tokenizer\.json does not exist: .*AutoTokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "is not a tokenizer file"),
        (_no_end, "names no end-of-text token: set eos_token"),
        (_unknown_end, "has no token '<end>' for the end of a text"),
        (_other_prefix, "theirs/tokenizer.json has a normalizer that puts '_' before texts"),
        (_holes, "has holes among its ids"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{"), "is not valid JSON"),
        (
            lambda folder: (folder / "tokenizer_config.json").write_text("[]"),
            r"tokenizer_config\.json is not a JSON object",
        ),
        (
            lambda folder: (folder / "generation_config.json").write_text("{,"),
            r"theirs/generation_config\.json is not valid JSON .*: copy it again",
        ),
        (lambda folder: (folder / "special_tokens_map.json").write_text("5"), "is not a JSON object"),
        (lambda folder: _no_end(folder, -1), "names no end-of-text token"),
        (lambda folder: _no_end(folder, 10**12), "names no end-of-text token"),
    ],
)
def test_a_tokenizer_that_mm1_can_not_take_is_one_sentence(
    breakage: Callable[[Path], object], said: str, adopted: Callable[..., Adopted]
) -> None:
    with pytest.raises(UserError, match=said):
        adopted(breakage)
