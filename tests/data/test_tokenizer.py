"""Text goes in and comes out whole, and can never produce a special id."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, models
from tokenizers import Tokenizer as HFTokenizer

from mm1.config import UserError
from mm1.data.tokenizer import EOS, IMAGE, PAD, TOKENIZER_CONFIG, Tokenizer, train_tokenizer

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


def named_otherwise(folder: Path, **names: object) -> Path:
    """A tokenizer with more special tokens, one of them not marked as such, and a file that names some of them."""
    path = train_tokenizer(iter(["the cat sat on the mat"] * 9), 300, folder / "tokenizer.json").path
    file = HFTokenizer.from_file(str(path))
    file.add_special_tokens(["<s>", "</s>", "<pad>"])
    file.add_tokens([AddedToken("<image>", special=False)])
    file.enable_truncation(4)
    file.enable_padding(length=9)
    file.save(str(path))
    named = {"pad_token": "<pad>", "eos_token": "</s>", "image_token": "<image>", "bos_token": "<s>"}
    path.with_name(TOKENIZER_CONFIG).write_text(json.dumps({"model_max_length": 7, **named, **names}))
    return path


def test_special_tokens_may_have_other_names(tmp_path: Path) -> None:
    path = named_otherwise(tmp_path, eos_token={"content": "</s>", "lstrip": False})
    tokenizer, file = Tokenizer(path), HFTokenizer.from_file(str(path))
    ids = [tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.image_id]
    assert ids == [file.token_to_id(name) for name in ("<s>", "</s>", "<pad>", "<image>")]
    assert tokenizer.vocab_size == max(ids) + 1
    text = "the cat<image></s><s> sat on the <pad>mat <|image|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert not set(ids) & set(tokenizer.encode(text))
    assert len(tokenizer.encode("cat")) <= 3 < len(tokenizer.encode(text))  # neither padded nor cut off
    assert tokenizer.decode([*ids, *tokenizer.encode("cat"), tokenizer.image_id]) == "cat"
    assert pickle.loads(pickle.dumps(tokenizer)).bos_id == tokenizer.bos_id


def test_a_vocabulary_that_leaves_ids_out_is_as_large_as_its_largest_id(tmp_path: Path) -> None:
    file = HFTokenizer(models.WordLevel({"cat": 0, "mat": 90}, unk_token="cat"))
    file.add_special_tokens([AddedToken(name, special=True) for name in (PAD, EOS, IMAGE)])
    file.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.encode("mat") == [90]
    assert tokenizer.vocab_size == 91


def test_documents_may_begin_without_a_token_of_their_own(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert tokenizer.bos_id is None
    with_bos = Tokenizer(named_otherwise(tmp_path))
    assert Tokenizer(named_otherwise(tmp_path, bos_token=None)).bos_id is None
    same = Tokenizer(named_otherwise(tmp_path, bos_token="</s>"))
    assert same.bos_id == same.eos_id
    padding, size = [with_bos.pad_id, with_bos.image_id], with_bos.vocab_size
    assert with_bos.never_generated(size + 2) == sorted([*padding, with_bos.bos_id, size, size + 1])
    assert same.never_generated(size) == sorted(padding), "what ends a document must be said"
    assert with_bos.digest != same.digest


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"image_token": None}, "names no image_token"),
        ({"image_token": "<img>"}, "has no token '<img>'"),
        ({"pad_token": "</s>"}, "has '</s>' as pad_token and as eos_token"),
        ({"bos_token": "<pad>"}, "has '<pad>' as bos_token and for padding"),
        ({"image_token": "at"}, "has 'at' among the words that texts are made of"),
    ],
)
def test_names_that_can_not_be_used(tmp_path: Path, names: dict[str, str | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tokenizer(named_otherwise(tmp_path, **names))


def test_a_torn_file_of_names_is_named(tmp_path: Path) -> None:
    path = named_otherwise(tmp_path)
    path.with_name(TOKENIZER_CONFIG).write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config.json is not valid JSON"):
        Tokenizer(path)
