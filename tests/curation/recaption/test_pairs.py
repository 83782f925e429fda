"""Pairs of any set; what is none is told."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mm1.curation.documents import DocumentWriter, PictureSegment
from mm1.curation.recaption.pairs import Pair, read_pairs
from mm1.data.formats.reading import Drop, ReadOptions
from tests.curation.site import picture


def read(path: Path, format: str) -> list[Pair | str]:
    found = read_pairs(path, format, ReadOptions())
    return [item.reason if isinstance(item, Drop) else item for item in found]


def test_a_set_of_curation_keeps_its_addresses(tmp_path: Path) -> None:
    path, image = tmp_path / "a.parquet", picture(1)
    shown = PictureSegment(image, "https://a/x.png", "alt")
    with DocumentWriter(path) as writer:
        writer.write("one", "https://a/", [shown, " A  cat\n"])
        writer.write("page", "https://a/", [shown, "and", shown])
        writer.write("text", "https://a/", ["no picture"])
        writer.write("bare", "https://a/", [shown])
    assert read(path, "documents-parquet") == [
        Pair("one", image, "A cat", "https://a/", "https://a/x.png", "alt"), "not one picture", "not one picture",
        Pair("bare", image, "", "https://a/", "https://a/x.png", "alt"),
    ]  # fmt: skip


def test_other_formats_are_read_as_prepare_reads_them(tmp_path: Path) -> None:
    table = pa.table({"jpg": [picture(1), None], "caption": ["A cat", "lost"]})
    pq.write_table(table, tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet", "captions") == [Pair("b/0", picture(1), "A cat"), "image without bytes"]
    (tmp_path / "c.png").write_bytes(picture(2))
    parts = [{"type": "image", "image": "c.png"}, {"type": "text", "text": "A dog"}]
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "c", "segments": parts}) + "\n{torn\n")
    assert read(tmp_path / "c.jsonl", "documents")[0] == Pair("c", picture(2), "A dog")
    assert len(read(tmp_path / "c.jsonl", "documents")) == 2


def test_damage_is_counted_not_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = [{"id": "x", "segments": [{"type": "sound", "text": None, "image": None}]}]
    pq.write_table(pa.Table.from_pylist(broken), path)
    assert len(read(path, "documents-parquet")) == 1
    assert not isinstance(read(path, "documents-parquet")[0], Pair)
    path.write_bytes(path.read_bytes()[:40])
    assert read(path, "documents-parquet") == ["damaged"]
