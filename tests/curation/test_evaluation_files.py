"""Evaluations are read from whatever holds them: every text and every picture, and what could not be read is told."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mm1.config import UserError
from mm1.curation.evaluation_files import read_evaluations
from mm1.data.formats.reading import Drop
from tests.curation.pictures import encoded, scene

PICTURE = encoded(scene(1))
QUESTION = "What is on the table?"


def read(*paths: Path) -> list[str | bytes | Drop]:
    return list(read_evaluations(paths))


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.PNG").write_bytes(PICTURE)
    (tmp_path / "a.txt").write_text(f"{QUESTION}\n\nAnother one?\n")
    (tmp_path / "ignored.bin").write_bytes(b"\0")
    assert read(tmp_path) == [QUESTION, "Another one?", PICTURE]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json"])
def test_records_however_deep(tmp_path: Path, ending: str) -> None:
    (tmp_path / "one.png").write_bytes(PICTURE)
    rows = [
        {"question": QUESTION, "choices": ["a cup", {"text": "a plate"}], "number": 3, "image": "one.png"},
        {
            "image": base64.b64encode(PICTURE).decode(),
            "uri": "data:image/png;base64," + base64.b64encode(PICTURE).decode(),
        },
        {"image": "not/there.png"},
    ]
    text = json.dumps(rows) if ending == ".json" else "\n".join(map(json.dumps, rows))
    path = tmp_path / f"rows{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    found = read(path)
    assert sorted(item for item in found if isinstance(item, str)) == [QUESTION, "a cup", "a plate", "not/there.png"]
    assert [item for item in found if isinstance(item, bytes)] == [PICTURE] * 3


def test_one_object_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps({"questions": [{"question": QUESTION}], "info": {"year": 2014}}))
    assert read(path) == [QUESTION]


def test_a_text_that_begins_as_a_picture_in_base64_is_a_text(tmp_path: Path) -> None:
    texts = ["/9j/ is how a JPEG begins", "UklGR…", "iVBORw0KGgoé"]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"a": text}) for text in texts))
    assert read(path) == texts


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    table = {"question": [QUESTION], "image": [{"bytes": PICTURE, "path": None}], "choices": [["a", "b"]], "id": [1]}
    parquet.write_table(pa.table(table), path)
    assert set(read(path)) == {QUESTION, PICTURE, "a", "b"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"question": "cut'),
        ("a.json", b'{"question": "cut'),
        ("a.json", b"[" * 100_000),
        ("a.parquet", b"PAR1 no more"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 1000)[:-9]),
    ],
)
def test_damage_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = read(path)
    assert found
    assert all(isinstance(item, Drop) for item in found)


def test_pictures_are_taken_from_the_files_own_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PICTURE)
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / "a.jsonl"
    path.write_text(json.dumps({"a": "../secret.png"}) + "\n" + json.dumps({"a": str(tmp_path / "secret.png")}))
    assert all(isinstance(item, str) for item in read(path))


def test_what_can_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        read(tmp_path / "gone")
    with pytest.raises(UserError, match="holds no evaluation"):
        read(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(UserError, match="holds no evaluation"):
        read(tmp_path / "a.bin")
