"""Pieces make the text again, are short, and have the ids that the whole text has."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mm1.data import long_texts
from mm1.data.encode import DocumentEncoder
from mm1.data.long_texts import MAX_PIECE, in_pieces
from mm1.data.shards import write_shards
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.types import Document, Image, Text

WORDS = ("one", "two,", "it's", "1234", "  five", "\tsix", "eight.\n", "nine\r\n", "ten\n\n", "«elf»\n ", "zwölf")


def prose(words: int) -> str:
    draw = random.Random(0)
    return " ".join(draw.choice(WORDS) for _ in range(words))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return train_tokenizer(iter([prose(2000)]), 400, tmp_path_factory.mktemp("long") / "tokenizer.json")


@pytest.mark.parametrize("text", [prose(20_000), prose(20_000).replace("\n", " "), "x" * (3 * MAX_PIECE + 5)])
@pytest.mark.parametrize("target", [True, False])
def test_pieces_are_the_text_again_and_short(text: str, target: bool) -> None:
    pieces = list(in_pieces(Text(text, target)))
    assert "".join(piece.text for piece in pieces) == text
    assert all(MAX_PIECE // 2 < len(piece.text) <= MAX_PIECE for piece in pieces[:-1])
    assert {piece.target for piece in pieces} == {target}


@pytest.mark.parametrize("text", [prose(20_000), prose(20_000).replace("\n", " ")])
def test_a_text_in_pieces_has_the_ids_of_the_whole(tokenizer: Tokenizer, text: str) -> None:
    pieces = [tokenizer.encode(piece.text) for piece in in_pieces(Text(text))]
    assert len(pieces) > 5
    assert [index for ids in pieces for index in ids] == tokenizer.encode(text)


def test_what_is_short_or_no_text_stays_as_it_is() -> None:
    for segment in (Text("a" * MAX_PIECE), Text(""), Image(b"x" * (2 * MAX_PIECE))):
        assert [id(piece) for piece in in_pieces(segment)] == [id(segment)]


def test_a_sequence_out_of_a_stored_book_is_encoded_without_the_rest(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch
) -> None:
    book = prose(40_000)
    encoder = DocumentEncoder(tokenizer, 4, 8)
    source = write_shards([Document("book", (Text(book),))], tmp_path, "books", encoder)
    ids = [*tokenizer.encode(book), tokenizer.eos_id]
    asked: list[int] = []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda text, beginning=False: asked.append(len(text)) or encode(text))
    start = len(ids) // 2
    sample = encoder.encode(source.document(0), start=start, stop=start + 100, lengths=source.segment_lengths(0))
    assert sample.tokens.tolist() == ids[start : start + 100]
    assert sum(asked) <= 2 * long_texts.MAX_PIECE < len(book) // 4
