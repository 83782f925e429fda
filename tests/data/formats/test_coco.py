"""COCO's captions: one document a caption, pictures by their ids."""

import json

import pytest

from mm1.config import UserError
from mm1.types import Document, Image, Text


def write_coco(path, images, annotations):
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))
    return path


def test_every_caption_is_a_document_with_its_picture(read, tmp_path):
    for name in ("8.jpg", "9.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    images = [{"id": 9, "file_name": "9.jpg"}, {"id": 8, "file_name": "8.jpg"}]
    annotations = [{"id": n, "image_id": 8 + n % 2, "caption": f"caption {n} "} for n in range(3)]
    documents, dropped, _ = read("coco", write_coco(tmp_path / "c.json", images, annotations), images=tmp_path)
    assert documents == [
        Document("c/0", (Image(b"8.jpg"), Text(" caption 0\n"))),
        Document("c/1", (Image(b"9.jpg"), Text(" caption 1\n"))),
        Document("c/2", (Image(b"8.jpg"), Text(" caption 2\n"))),
    ]
    assert dropped == {}


def test_what_is_no_caption_is_dropped(read, tmp_path):
    images = [{"id": 1, "file_name": "gone.jpg"}, {"id": 2, "file_name": "../x"}, {"id": [3]}, "image", {"id": 4}]
    annotations = [{"image_id": n, "caption": "a"} for n in range(5)]
    annotations += [{"image_id": 1, "caption": " "}, {"image_id": 1}, {"caption": "a"}, "annotation"]
    documents, dropped, _ = read("coco", write_coco(tmp_path / "c.json", images, annotations))
    assert documents == []
    assert dropped == {
        "missing image": 4, "image outside its folder": 1, "no caption": 3, "no image_id": 1,
    }  # fmt: skip


def test_other_keys_are_one_sentence_and_broken_json_one_drop(read, tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"images": [], "categories": []}')
    with pytest.raises(UserError, match=r"has the keys images, categories, but no list of annotations"):
        read("coco", path)
    for text, reason in (("{", "invalid JSON"), ("[]", "no JSON object")):
        path.write_text(text)
        assert read("coco", path) == ([], {reason: 1}, {})


def test_a_file_too_large_to_be_read_whole_is_one_drop(read, tmp_path, monkeypatch):
    monkeypatch.setattr("mm1.data.formats.whole_json.MAX_WHOLE", 30)
    assert read("coco", write_coco(tmp_path / "c.json", [], []))[1] == {"file too large": 1}
