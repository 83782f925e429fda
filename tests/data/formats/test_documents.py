"""Documents as JSON: every segment as it was given, pictures from paths and data: URIs."""

import base64
import os

from mm1.types import Document, Image, Text


def image(name):
    return {"type": "image", "image": name}


def text(content, **more):
    return {"type": "text", "text": content, **more}


def test_segments_come_back_as_they_were_written(write, read, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "beside.png").write_bytes(b"beside")
    (tmp_path / "in" / "a.png").write_bytes(b"a")
    uri = "data:image/png;base64," + base64.b64encode(b"inline").decode()
    segments = [
        image("a.png"), image("../beside.png"), image(str(tmp_path / "beside.png")), image(uri),
        image("data:,a%20b"), text("<|image|>", target=False), text(""), text("the end"),
    ]  # fmt: skip
    path = write.jsonl(tmp_path / "in" / "d.jsonl", [{"id": "x", "segments": segments, "license": "CC0"}])
    expected = [Image(b"a"), Image(b"beside"), Image(b"beside"), Image(b"inline"), Image(b"a b")]
    documents, dropped, _ = read("documents", path)
    assert documents == [Document("x", (*expected, Text("<|image|>", target=False), Text(""), Text("the end")))]
    assert dropped == {}


def test_a_document_without_a_name_is_named_by_its_place(write, read, tmp_path):
    path = write.jsonl(tmp_path / "d.jsonl", [{"segments": [text("a")]}, {"id": 7, "segments": [text("b")]}])
    assert [document.id for document in read("documents", path)[0]] == ["d.jsonl:1", "7"]


def test_what_is_no_document_is_dropped_and_the_rest_read(write, read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    rows = [
        {"segments": [text("good")]}, {"segments": []}, {"segments": [text(" "), text("")]}, {}, {"segments": "text"},
        {"segments": [{"type": "video"}]}, {"segments": [{"type": "text"}]}, {"segments": [text("a", target="no")]},
        {"segments": [image("gone.png")]}, {"segments": [image("pipe")]}, {"segments": [image("a\0b")]},
        {"segments": [image("data:image/png;base64,!")]}, {"segments": [image("data:image/png")]},
        {"segments": ["text"]}, {"segments": [text("half \ud83d")]},
    ]  # fmt: skip
    path = write.jsonl(tmp_path / "d.jsonl", rows)
    path.write_bytes(path.read_bytes() + b'{"segments": [{"type": "text", "text": "caf\xe9"}]}\n{"segments": [')
    documents, dropped, _ = read("documents", path)
    assert [document.segments for document in documents] == [(Text("good"),)]
    assert dropped == {
        "empty document": 2, "no segments": 2, "segment of unknown type": 1, "no text": 1, "missing image": 3,
        "target is neither true nor false": 1, "broken data: URI": 2, "no type": 1, "invalid UTF-8": 2,
        "invalid JSON": 1,
    }  # fmt: skip


def test_a_picture_of_any_size_is_not_read_into_memory(write, read, tmp_path, monkeypatch):
    monkeypatch.setattr("mm1.data.formats.reading.MAX_IMAGE_BYTES", 10)
    (tmp_path / "big.png").write_bytes(b"x" * 11)
    rows = [{"segments": [image("big.png")]}, {"segments": [image("data:," + "x" * 11)]}]
    assert read("documents", write.jsonl(tmp_path / "d.jsonl", rows))[1] == {"image too large": 2}


def test_a_picture_named_many_times_is_read_no_further_than_a_document_may_go(write, read, tmp_path, monkeypatch):
    monkeypatch.setattr("mm1.data.formats.reading.MAX_DOCUMENT_BYTES", 100)
    monkeypatch.setattr("mm1.data.formats.reading.MAX_TEXT", 50)
    (tmp_path / "big.png").write_bytes(b"x" * 40)
    lost = [image("big.png")] * 3 + [image("never asked for.png")]
    rows = [{"segments": lost}, {"segments": [text("x" * 51)]}, {"segments": [image("big.png"), text("x" * 50)]}]
    documents, dropped, _ = read("documents", write.jsonl(tmp_path / "d.jsonl", rows))
    assert dropped == {"document too large": 1, "text too long": 1}
    assert len(documents) == 1
    chat = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]
    path = write.jsonl(tmp_path / "l.jsonl", [{"conversations": chat, "image": [part["image"] for part in lost]}])
    assert read("llava", path)[1] == {"document too large": 1}
