"""The space before a text: at a document's beginning as the file makes it, and nowhere else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import decoders, pre_tokenizers

from mm1.config import UserError
from mm1.data.encode import IMAGE_LENGTH, DocumentEncoder
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.types import Document, Text
from tests.sentence_piece import write_sentence_piece

WORDS = ["user: what is it? assistant: a red circle", " and a blue square", "ok then , one two"] * 3


def byte_level(folder: Path) -> Path:
    path = train_tokenizer(iter(WORDS), 300, folder / "tokenizer.json").path
    library = tokenizers.Tokenizer.from_file(str(path))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    library.save(str(path))
    return path


def metaspace_decoder(folder: Path) -> Path:
    path = write_sentence_piece(folder, WORDS, "always")
    library = tokenizers.Tokenizer.from_file(str(path))
    library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    library.save(str(path))
    return path


KINDS: dict[str, Callable[[Path], Path]] = {
    "normalizer": lambda folder: write_sentence_piece(folder, WORDS, "normalizer"),
    "first": lambda folder: write_sentence_piece(folder, WORDS, "first"),
    "always": lambda folder: write_sentence_piece(folder, WORDS, "always"),
    "metaspace decoder": metaspace_decoder,
    "byte level": byte_level,
}


@pytest.fixture(scope="module", params=KINDS)
def spaced(request, tmp_path_factory) -> Tokenizer:
    return Tokenizer(KINDS[request.param](tmp_path_factory.mktemp("spaced")))


texts = st.text(st.sampled_from("a circle:\n▁ é<s>") | st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(text=texts)
@example(text=" a")
@example(text="  a")
@example(text="▁a")
def test_a_beginning_has_the_ids_that_the_file_gives(spaced: Tokenizer, text: str) -> None:
    library = tokenizers.Tokenizer.from_file(str(spaced.path))
    library.encode_special_tokens = True
    assert spaced.encode(text, beginning=True) == library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["ok", "circle and a square", "a"])
def test_what_goes_on_has_a_space_only_where_it_says_so(spaced: Tokenizer, text: str) -> None:
    assert spaced.encode(text, beginning=True) == spaced.encode(f" {text}") != spaced.encode(text)
    assert spaced.has_prefix


@given(text=texts.filter(lambda text: "▁" not in text))  # which SentencePiece can not tell from a space
@example(text=" a")
def test_a_decoded_text_keeps_its_space(spaced: Tokenizer, text: str) -> None:
    assert spaced.decode(spaced.encode(text)) == text


def test_only_the_first_text_of_a_document_is_a_beginning(spaced: Tokenizer, make) -> None:
    spaced = pickle.loads(pickle.dumps(spaced))
    encoder, image = DocumentEncoder(spaced, 2, 8), make.picture(1)
    bos = [] if spaced.bos_id is None else [spaced.bos_id]

    def check(*segments: object, expected: list[list[int]]) -> None:
        document = Document("d", tuple(Text(part) if isinstance(part, str) else part for part in segments))
        ids = [*bos, *(index for part in expected for index in part)]
        lengths = encoder.segment_lengths(document)
        assert encoder.encode(document, end=False).tokens.tolist() == ids
        assert [2 if length == IMAGE_LENGTH else length for length in lengths] == [len(part) for part in expected]
        # A unit that begins anywhere has the tokens of the whole.
        starts = [0, len(bos) + len(expected[0])]
        for start in starts:
            part = encoder.encode(document, start=start, end=False, lengths=[max(length, -1) for length in lengths])
            assert part.tokens.tolist() == ids[start:]

    first, later = spaced.encode("user: ", beginning=True), spaced.encode("ok\n")
    check("user: ", "ok\n", expected=[first, later])
    check("", "user: ", "ok\n", expected=[[], first, later])
    check(image, "ok\n", "ok\n", expected=[[spaced.image_id] * 2, later, later])
    check("user: ", image, "ok\n", expected=[first, [spaced.image_id] * 2, later])


def test_texts_of_pairs_follow_images_and_are_no_beginnings(spaced: Tokenizer, make) -> None:
    encoder = DocumentEncoder(spaced, 0, 8)
    document = Document("d", (make.picture(1), Text("a circle"), make.picture(2), Text("a square")))
    bos = [] if spaced.bos_id is None else [spaced.bos_id]
    expected = [*bos, *spaced.encode("a circle"), *bos, *spaced.encode("a square")]
    assert encoder.encode(document, pairs=True, end=False).tokens.tolist() == expected
    assert encoder.segment_lengths(document)[1::2] == [len(spaced.encode(text)) for text in ("a circle", "a square")]


def test_where_there_is_no_prefix_a_beginning_is_like_the_rest(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for plain in (tokenizer, Tokenizer(write_sentence_piece(tmp_path, WORDS, "never"))):
        assert not plain.has_prefix
        assert plain.encode("a circle", beginning=True) == plain.encode("a circle")


def test_an_added_token_inside_a_text_begins_nothing(tmp_path: Path) -> None:
    path = write_sentence_piece(tmp_path, WORDS, "normalizer")
    library = tokenizers.Tokenizer.from_file(str(path))
    library.add_tokens(["<tool>"])
    library.save(str(path))
    tokenizer = Tokenizer(path)
    ids = tokenizer.encode("a<tool>circle", beginning=True)
    assert ids == [*tokenizer.encode(" a"), library.token_to_id("<tool>"), *tokenizer.encode("circle")]


@pytest.mark.parametrize("change", [{"prepend": "_"}, {"type": "Lowercase"}])
def test_another_prefix_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    path = write_sentence_piece(tmp_path, WORDS, "normalizer")
    values = json.loads(path.read_text())
    values["normalizer"]["normalizers"]["prepend" not in change] |= change
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"tokenizer\.json has a normalizer that puts '.' before texts, .*use another"):
        Tokenizer(path)
