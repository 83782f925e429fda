"""What is written is what is read; what is damaged is refused by name."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mm1.config import UserError
from mm1.data import shards
from mm1.data.encode import DocumentEncoder
from mm1.data.shards import ShardSource, ShardWriter, write_shards
from mm1.data.sources import ListSource, MeasuredSource
from mm1.types import Document, Image, Text

segments = st.one_of(st.builds(Text, st.text(), st.booleans()), st.builds(Image, st.binary()))
documents = st.builds(Document, id=st.text(), segments=st.lists(segments).map(tuple), source=st.text(min_size=1))


@settings(max_examples=30)
@given(rows=st.lists(documents, max_size=12), per_batch=st.integers(1, 5), shard_bytes=st.integers(1, 50))
def test_documents_come_back_whole(
    encoder: DocumentEncoder,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Document],
    per_batch: int,
    shard_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    with ShardWriter(folder, "s", encoder, shard_bytes=shard_bytes, batch_documents=per_batch) as writer:
        for document in rows:
            writer.add(document)
    source = ShardSource(folder)
    source.verify()
    assert [source.document(index) for index in range(len(source))] == rows
    lengths = [encoder.segment_lengths(document) for document in rows]
    assert [source.segment_lengths(index) for index in range(len(source))] == lengths
    backwards = np.arange(len(rows))[::-1]
    text, images = source.totals(backwards)
    assert text.tolist() == [sum(length for length in row if length >= 0) for row in lengths[::-1]]
    assert images.tolist() == [sum(length < 0 for length in row) for row in lengths[::-1]]
    measured = MeasuredSource(ListSource("s", rows), encoder)
    assert [source.segment_targets(index) for index in range(len(rows))] == [
        measured.segment_targets(index) for index in range(len(rows))
    ]
    assert [column.tolist() for column in source.target_tokens(backwards)] == [
        column.tolist() for column in measured.target_tokens(backwards)
    ]
    assert source.image_sizes(backwards).tolist() == [[0, 0]] * int(images.sum())  # bytes that are no picture


@pytest.fixture
def folder(tmp_path: Path, encoder: DocumentEncoder, make) -> Path:
    """Thirty documents in several shards of several batches."""
    with ShardWriter(tmp_path, "web", encoder, shard_bytes=2000, batch_documents=3) as writer:
        for number in range(30):
            writer.add(make.web(number, number % 3))
    return tmp_path


def test_reading_survives_more_batches_than_are_kept_open(folder: Path, make, monkeypatch) -> None:
    monkeypatch.setattr(shards, "OPEN_BATCHES", 2)
    source = ShardSource(folder)
    assert len(list(folder.glob("*.arrow"))) > 1
    for index in [0, 29, 14, 3, 29, 0]:
        assert source.document(index) == make.web(index, index % 3)
    assert len(source._columns) == 2


def test_sizes_come_in_the_order_asked_for_upright(tmp_path: Path, encoder: DocumentEncoder, make) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    rng = np.random.default_rng(0)
    sizes = [[tuple(rng.integers(1, 30, 2).tolist()) for _ in range(number % 4)] for number in range(20)]
    documents = []
    for number, row in enumerate(sizes):
        # Stored on their side; EXIF says that they are shown as `sizes` has them.
        images = [make.sized(number, h, w, file_format="JPEG", exif=exif) for w, h in row]
        documents.append(Document(f"d/{number}", (Text("a"), *images), "web"))
    with ShardWriter(tmp_path, "web", encoder, shard_bytes=4000, batch_documents=3) as writer:
        for document in documents:
            writer.add(document)
    order = rng.permutation(20)
    expected = [list(size) for number in order for size in sizes[number]]
    assert ShardSource(tmp_path).image_sizes(order).tolist() == expected
    assert MeasuredSource(ListSource("web", documents), encoder).image_sizes(order).tolist() == expected
    assert ShardSource(tmp_path).image_sizes(np.array([0])).shape == (0, 2)


def test_a_source_travels_to_another_process(folder: Path) -> None:
    source = ShardSource(folder, name="other")
    source.document(0)
    copy = pickle.loads(pickle.dumps(source))
    assert (copy.name, copy.document(7)) == ("other", source.document(7))


def test_a_document_without_a_source_takes_the_name_of_its_shards(tmp_path: Path, encoder: DocumentEncoder) -> None:
    source = write_shards([Document("d", (Text("a"),))], tmp_path, "books", encoder)
    assert source.document(0).source == "books"
    assert source.tokenizer_digest == encoder.tokenizer.digest


def test_a_truncated_shard_is_named(folder: Path) -> None:
    path = folder / "shard-00001.arrow"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"shard-00001.arrow has {size - 100} bytes where the index says {size}"):
        ShardSource(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"shard-00001.arrow is missing"):
        ShardSource(folder)


@pytest.mark.parametrize("name", ["shard-00000.arrow", "lengths-documents.bin", "lengths-segments.bin"])
def test_a_flipped_byte_is_found_by_verify(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} has checksum"):
        ShardSource(folder).verify()


@pytest.mark.parametrize("batches", [[18], [1, 17], [4, 5, 9], [3, 3, 3, 3, 3, 2, 1]])
def test_an_index_that_tells_of_other_documents_is_refused(folder: Path, batches: list[int]) -> None:
    index = json.loads((folder / "index.json").read_text())
    assert index["shards"][0]["batches"] == [3, 3, 3, 3, 3, 3]
    index["shards"][0]["batches"] = batches
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"shard-00000.arrow holds other documents than the index says"):
        ShardSource(folder).document(5)


def test_lengths_of_other_documents_are_refused(folder: Path, tmp_path_factory, encoder: DocumentEncoder, make) -> None:
    other = tmp_path_factory.mktemp("other")
    write_shards((make.web(number, (number + 1) % 3) for number in range(30)), other, "web", encoder)
    theirs = json.loads((other / "index.json").read_text())["lengths"]
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "lengths": theirs}))
    for path in other.glob("lengths-*.bin"):
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"shard-00000.arrow holds other documents than the index says"):
        ShardSource(folder).document(0)


@pytest.mark.parametrize("gone", ["shards", "lengths", "documents", "name", "tokenizer"])
def test_an_index_without_all_that_is_in_one_is_refused(folder: Path, gone: str) -> None:
    index = json.loads((folder / "index.json").read_text())
    del index[gone]
    for content in (index, {**index, gone: None}, {**index, gone: [7]}):
        (folder / "index.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"index.json is not what prepare writes, something in it is missing"):
            ShardSource(folder)


def test_counting_opens_no_shard(folder: Path, make, encoder: DocumentEncoder, monkeypatch) -> None:
    monkeypatch.setattr(shards.pa.ipc, "open_file", lambda *_: pytest.fail("opened"))
    source, order = ShardSource(folder), np.arange(30)[::-1]
    assert source.totals(order)[1].tolist() == [number % 3 for number in order]
    assert source.target_tokens(order)[0].tolist() == source.totals(order)[0].tolist()
    assert len(source.image_sizes(order)) == 30
    assert source.segment_lengths(7) == encoder.segment_lengths(make.web(7, 1))
    assert source.segment_targets(7) == [True, False, True]


OPENED = """
import resource, sys
from mm1.data.shards import ShardSource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
sources = [ShardSource(sys.argv[1]) for _ in range(4)]
print(sum(len(source.document(index).segments) for source in sources for index in range(len(source))))
"""


def test_more_shards_are_read_than_files_may_be_open(tmp_path: Path, encoder: DocumentEncoder, make) -> None:
    with ShardWriter(tmp_path, "text", encoder, shard_bytes=1, batch_documents=1) as writer:
        for number in range(60):
            writer.add(make.text(number))
    assert len(list(tmp_path.glob("*.arrow"))) == 60
    command = [sys.executable, "-c", OPENED, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "240\n"


def test_others_read_the_shards(folder: Path, make, monkeypatch) -> None:
    """pyarrow, and Hugging Face's datasets, offline."""
    paths = sorted(str(path) for path in folder.glob("shard-*.arrow"))
    tables = [pa.ipc.open_file(path).read_all() for path in paths]
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        cache = str(folder / "cache")
        loaded = datasets.load_dataset("arrow", data_files=paths, split="train", cache_dir=cache)
    for rows in (pa.concat_tables(tables).to_pylist(), list(loaded)):
        assert [row["id"] for row in rows] == [f"web/{number}" for number in range(30)]
        for number, row in enumerate(rows):
            segments = make.web(number, number % 3).segments
            assert [part["text"] for part in row["segments"]] == [getattr(part, "text", None) for part in segments]
            assert [part["image"] for part in row["segments"]] == [getattr(part, "data", None) for part in segments]


def test_an_interrupted_writing_leaves_no_index(tmp_path: Path, encoder: DocumentEncoder, make) -> None:
    write_shards([make.text(1)], tmp_path, "text", encoder)
    endless = (make.text(number) if number < 3 else 1 // 0 for number in range(9))
    with pytest.raises(ZeroDivisionError):
        write_shards(endless, tmp_path, "text", encoder)
    with pytest.raises(UserError, match=r"has no index.json"):
        ShardSource(tmp_path)


def test_an_index_of_another_format_is_refused(folder: Path) -> None:
    (folder / "index.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="format 99 where this version reads 3"):
        ShardSource(folder)
    (folder / "index.json").write_text("[]")
    with pytest.raises(UserError, match="format None where this version reads 3"):
        ShardSource(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        ShardSource(folder)
