"""Text goes in and comes out whole, and can never produce a special id."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.data.tokenizer import EOS, IMAGE, PAD, Tokenizer, train_tokenizer

texts = st.lists(st.one_of(st.text(), st.sampled_from([PAD, EOS, IMAGE, "<|", "|>", " "]))).map("".join)


@given(text=texts)
def test_text_survives_and_makes_no_special_id(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not {tokenizer.pad_id, tokenizer.eos_id, tokenizer.image_id} & set(ids)


def test_a_reloaded_and_a_pickled_tokenizer_keep_special_spelling_harmless(tokenizer: Tokenizer) -> None:
    for copy in (Tokenizer(tokenizer.path), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.encode(f"a {IMAGE} b {EOS}") == tokenizer.encode(f"a {IMAGE} b {EOS}")
        assert tokenizer.image_id not in copy.encode(IMAGE)


def test_decoding_leaves_special_ids_out(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.image_id, *tokenizer.encode("a circle"), tokenizer.eos_id, tokenizer.pad_id]
    assert tokenizer.decode(ids) == "a circle"


def test_no_space_is_put_before_the_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("red") != tokenizer.encode(" red")


def test_ids_stay_below_the_vocabulary_size(tokenizer: Tokenizer) -> None:
    assert max(tokenizer.encode("the big red circle \x00 é 日本")) < tokenizer.vocab_size <= 400


def test_training_twice_gives_the_same_file(tmp_path: Path) -> None:
    corpus = ["the cat sat on the mat", "the dog sat on the log"] * 10
    first, second = (train_tokenizer(iter(corpus), 300, tmp_path / f"{name}.json") for name in "ab")
    assert first.digest == second.digest
    assert first.vocab_size <= 300


def test_mistakes_are_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer at"):
        Tokenizer(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UserError, match="not a tokenizer file"):
        Tokenizer(tmp_path / "broken.json")
    with pytest.raises(UserError, match=r"vocabulary of 100 is too small.*259"):
        train_tokenizer(iter(["a"]), 100, tmp_path / "small.json")
    path = train_tokenizer(iter(["a"]), 259, tmp_path / "t.json").path
    path.write_text(path.read_text().replace(IMAGE, "<|picture|>"))
    with pytest.raises(UserError, match=r"no token '<\|image\|>'"):
        Tokenizer(path)
