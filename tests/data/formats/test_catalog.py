"""Files are recognised by what is in them; what is not is one sentence that lists the formats."""

import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from mm1.config import UserError
from mm1.data.formats.catalog import FORMATS, DamagedFile, recognise

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SEGMENT = pa.struct([("type", pa.string()), ("text", pa.string()), ("image", pa.binary())])
TURN = pa.struct([("user", pa.string()), ("assistant", pa.string())])


def table(columns):
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def tar(write, tmp_path):
    return write.tar(tmp_path / "made", [("0.jpg", b"x"), ("0.txt", b"y")]).read_bytes()


LONG = "x" * (2 << 20)
CASES = {
    "obelics": lambda: table({"images": pa.array([[None]], pa.list_(PICTURE)), "texts": [["a"]]}),
    "cauldron": lambda: table({"images": pa.array([[]], pa.list_(PICTURE)), "texts": pa.array([[]], pa.list_(TURN))}),
    "documents-parquet": lambda: table({"id": ["a"], "text": ["b"], "segments": pa.array([[]], pa.list_(SEGMENT))}),
    "captions": lambda: table({"image": pa.array([None], PICTURE), "caption": ["a"], "text": ["b"]}),
    "text-parquet": lambda: table({"text": ["a"], "image": ["a url"]}),
    "documents": lambda: json.dumps({"id": "a", "segments": []}).encode(),
    "mmc4": lambda: b'\n{"text_list": [], "image_info": []}\n',
    "llava": lambda: json.dumps([{"id": "a", "conversations": [{"from": LONG}]}], indent=2).encode(),
    "vqa": lambda: json.dumps({"questions": [{"question": LONG}]}).encode(),
    "coco": lambda: json.dumps({"annotations": [{"image_id": 1, "id": 2, "caption": LONG}], "images": []}).encode(),
    "imagefolder": lambda: b'{"file_name": "1.png", "text": "a cat", "label": 3}\n',
    "text-json": lambda: b'\xef\xbb\xbf{"text": "\\"segments\\": []"}\n',
    "text": lambda: b"Once upon a time",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_format_is_recognised_by_its_content(tmp_path, name):
    path = tmp_path / "file"
    path.write_bytes(CASES[name]())
    assert recognise(path).format == name
    if "columns" not in recognise(path).evidence and name != "text-parquet":
        path.write_bytes(gzip.compress(path.read_bytes()))
        assert recognise(path).format == name


def test_tars_are_recognised_and_every_format_has_a_case(tmp_path, write):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(tar(write, tmp_path)))
    assert recognise(path).format == "webdataset"
    assert {*CASES, "webdataset"} == set(FORMATS)


def test_a_text_file_may_begin_like_json(tmp_path):
    path = tmp_path / "song.txt"
    path.write_text("[Verse 1]\n")
    assert recognise(path).format == "text"


def test_the_long_first_line_of_documents_is_recognised_by_its_beginning(tmp_path):
    path = tmp_path / "file"
    path.write_text(json.dumps({"id": "a", "segments": [{"type": "image", "image": "data:," + LONG}]}))
    assert recognise(path).format == "documents"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"a": 1, "b": 2}', "is JSON with the keys a, b, which are no known format's"),
        (b"\x89PNG\0\0", "is neither a table, a tar, JSON nor text"),
        (table({"n": [1], "jpg": [b"x"]}), r"has the columns n \(int64\), jpg \(bytes\), where images and texts"),
    ],
)
def test_an_unknown_file_is_one_sentence_with_all_formats(tmp_path, content, sentence):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{sentence}.*: name its format with --format, one of {', '.join(FORMATS)}$"):
        recognise(path)


@pytest.mark.parametrize("content", [b"", b"PAR1 cut off", gzip.compress(b"text" * 99, mtime=0)[:15], b'[{"a": 1'])
def test_a_damaged_file_is_told_from_an_unknown_one(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DamagedFile):
        recognise(path)
    with pytest.raises(UserError, match="is no file"):
        recognise(tmp_path)


@pytest.mark.parametrize("name", ["a.tar", "a.parquet", "a.jsonl.gz", "a.json"])
def test_a_name_that_promises_more_than_text_is_believed_to_be_damaged(tmp_path, name):
    path = tmp_path / name
    path.write_text("Not Found")
    with pytest.raises(DamagedFile, match=rf"{name} ends in \.\w+, but does not begin like one"):
        recognise(path)
