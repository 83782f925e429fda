"""What is kept and what is dropped on the way into shards, and which parts a source has."""

import io
import json
from collections import Counter

import pyarrow as pa
import pytest
from PIL import Image as PillowImage
from pyarrow import parquet

from mm1.chain.parts import Losses, Part, checked, head_of, parts_of, write_part
from mm1.data.formats.files import FilesConfig
from mm1.data.formats.reading import Drop
from mm1.data.synthetic.source import SyntheticConfig
from mm1.data.tokenizer import train_tokenizer
from mm1.types import Document, Image, Text


def encoded(file_format="PNG", size=(8, 8), **options):
    buffer = io.BytesIO()
    PillowImage.new("RGB", size, "red").save(buffer, file_format, **options)
    return buffer.getvalue()


GOOD = Image(encoded())
FRAMES = [PillowImage.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
BAD = {
    "corrupt": Image(encoded("JPEG", (64, 64))[:400]),
    "unreadable": Image(b"<svg/>"),
    "animated": Image(encoded("GIF", save_all=True, append_images=FRAMES)),
    "too_many_pixels": Image(encoded("PNG", (9000, 8000))),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_document_falls_with_a_bad_picture_and_a_page_goes_on_without_it(reason):
    text = Text("text")
    whole, alone = Document("a", (GOOD, text, BAD[reason])), Document("b", (BAD[reason], text))
    assert list(checked([whole, alone], pages=False)) == [Drop(reason, "a"), Drop(reason, "b")]
    assert list(checked([whole, alone], pages=True)) == [
        Drop(reason, "a", what="image"), Document("a", (GOOD, text)),
        Drop(reason, "b", what="image"), Drop("no image left", "b"),
    ]  # fmt: skip


def test_a_file_that_lies_about_its_type_is_what_its_bytes_are():
    page = Document("a", (Image(encoded("WEBP")), Text("named .jpg")))
    assert list(checked([page, Drop("missing image", "b"), Document("c", ())], pages=False)) == [
        page, Drop("missing image", "b"), Drop("empty document", "c"),
    ]  # fmt: skip


def test_losses_are_counted_by_reason_with_the_first_place_of_each(tmp_path):
    one, two = Losses(), Losses()
    one.add(Drop("damaged", "a:3", count=7))
    one.add(Drop("missing image", "a:9", what="image"))
    two.add(Drop("damaged", "b:1"))
    two.add(Drop("missing image", "b:2"))
    one.merge(two)
    one.save(tmp_path)
    assert Losses.load(tmp_path) == one
    assert (one.documents, one.images) == (Counter({"damaged": 8, "missing image": 1}), Counter({"missing image": 1}))
    assert one.places == {"damaged": "a:3", "missing image": "a:9"}


def test_parts_hold_every_document_once(monkeypatch):
    config = SyntheticConfig(name="sums", page="sums", num_documents=10)
    monkeypatch.setattr("mm1.chain.parts.PART_DOCUMENTS", 4)
    parts = parts_of(config)
    assert [list(part.documents) for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    items = [item for part in parts for item in part.items()]
    assert [item.id for item in items] == [document.id for document in head_of(config, 99)]


def test_the_head_of_files_is_taken_from_several(tmp_path, monkeypatch):
    monkeypatch.setattr("mm1.chain.parts.HEAD_FILES", 3)
    for number in range(7):
        lines = [json.dumps({"text": f"{number}/{row}"}) for row in range(5)]
        (tmp_path / f"{number}.jsonl").write_text("\n".join([lines[0], "no JSON", *lines[1:]]))
    config = FilesConfig(name="texts", paths=(tmp_path,))
    assert [document.segments[0].text for document in head_of(config, 5)] == ["0/0", "0/1", "3/0", "3/1", "6/0", "6/1"]
    (part,) = parts_of(config)
    assert len(list(part.items())) == 42


def test_a_part_that_fails_is_not_finished_and_begins_anew(tmp_path):
    tokenizer = tmp_path / "tokenizer.json"
    train_tokenizer(iter(["a"]), 300, tokenizer)
    part = Part(SyntheticConfig(name="sums", page="sums", num_documents=4), 0, range(4))
    told = []

    def tell(documents, dropped, size):
        told.append((documents, dropped))
        if len(told) == 3:
            raise OSError("pulled out")

    with pytest.raises(OSError, match="pulled out"):
        write_part(part, tmp_path, tokenizer, tell)
    assert not part.is_finished(tmp_path)
    (tmp_path / part.name / "shard-00009.arrow").write_bytes(b"of before")
    write_part(part, tmp_path, tokenizer, tell)
    assert part.is_finished(tmp_path)
    assert sorted(path.name for path in (tmp_path / part.name).iterdir()) == [
        "index.json", "lengths-documents.bin", "lengths-images.bin", "lengths-segments.bin", "lost.json",
        "shard-00000.arrow",
    ]  # fmt: skip
    assert told[3:] == [(1, 0)] * 4


def test_pictures_that_a_page_goes_without_are_not_told_as_dropped_documents(tmp_path):
    train_tokenizer(iter(["a"]), 300, tmp_path / "tokenizer.json")
    pictures, texts = [[b"broken", GOOD.data, None]] * 2, [[None, None, "text"]] * 2
    parquet.write_table(pa.table({"images": pictures, "texts": texts}), tmp_path / "pages.parquet")
    (part,) = parts_of(FilesConfig(name="pages", paths=(tmp_path / "pages.parquet",)))
    told = []
    write_part(part, tmp_path, tmp_path / "tokenizer.json", lambda *counts: told.append(counts))
    size = len(GOOD.data) + len("text")
    assert told == [(0, 0, 0), (1, 0, size)] * 2


def test_a_large_file_is_shared_by_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("mm1.chain.parts.GROUP_BYTES", 2000)
    monkeypatch.setattr("mm1.chain.parts.group", lambda files: [(path,) for path in files])
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {number}"}) + "\n" for number in range(400)))
    (tmp_path / "u.jsonl").write_text('{"text": "small"}\n')
    parts = parts_of(FilesConfig(name="texts", paths=(path, tmp_path / "u.jsonl")))
    assert len(parts) == 6
    assert [part.share is None for part in parts] == [False] * 5 + [True]
    texts = [item.segments[0].text for part in parts for item in part.items()]
    assert texts == [*(f"text {number}" for number in range(400)), "small"]
