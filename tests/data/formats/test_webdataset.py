"""Captioned pictures of tars: bytes as they came, one document or one drop a sample, nothing unpickled."""

import json
import pickle

import pytest

from mm1.data.formats.webdataset import split_name
from mm1.types import Document, Image, Text


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_samples_are_captions_with_their_picture(write, read, make, tmp_path):
    pictures = [make.picture(number).data for number in range(4)]
    path = write.tar(tmp_path / "00007.tar", [
        ("a/000.jpg", pictures[0]), ("a/000.txt", b" a red <|image|> star\n"), ("a/000.json", b"{}"),
        ("a/001.json", json.dumps({"caption": "of json"}).encode()), ("a/001.png", pictures[1]),
        ("b/001.caption", b"of caption"), ("b/001.WEBP", pictures[2]), ("b/001.pickle", pickle.dumps(Trap())),
        ("002.txt", "später".encode()), ("002.seg.png", b"mask"), ("002.jpeg", pictures[3]),
    ])  # fmt: skip
    documents, dropped, _ = read("webdataset", path)
    assert documents == [
        Document("00007/a/000", (Image(pictures[0]), Text(" a red <|image|> star\n"))),
        Document("00007/a/001", (Image(pictures[1]), Text(" of json\n"))),
        Document("00007/b/001", (Image(pictures[2]), Text(" of caption\n"))),
        Document("00007/002", (Image(pictures[3]), Text(" später\n"))),
    ]
    assert dropped == {}


def test_a_sample_without_picture_or_caption_is_dropped_with_its_reason(write, read, tmp_path):
    path = write.tar(tmp_path / "a.tar", [
        ("0.jpg", b"x"), ("1.txt", b"no picture"), ("2.jpg", b"x"), ("2.txt", b" \n"),
        ("3.jpg", b"x"), ("3.json", b"{"), ("4.jpg", b"x"), ("4.json", b"[]"), ("5.jpg", b"x"), ("5.txt", b"caf\xe9"),
        ("6.jpg", b"x"), ("6.txt", b"good"),
    ])  # fmt: skip
    documents, dropped, _ = read("webdataset", path)
    assert [document.id for document in documents] == ["a/6"]
    assert dropped == {"no caption": 3, "no image": 1, "invalid JSON": 1, "invalid UTF-8": 1}


def test_another_field_or_key_may_be_the_caption(write, read, tmp_path):
    path = write.tar(tmp_path / "a.tar", [
        ("0.jpg", b"x"), ("0.txt", b"alt"), ("0.recap", b"new"),
        ("1.jpg", b"x"), ("1.txt", b"alt"), ("1.json", b'{"recap": "newer"}'),
    ])  # fmt: skip
    documents, _, _ = read("webdataset", path, text="recap")
    assert [document.segments[1].text for document in documents] == [" new\n", " newer\n"]


def test_a_sample_that_comes_again_is_another_sample(write, read, tmp_path):
    members = [("0.jpg", b"x"), ("0.txt", b"one"), ("0.jpg", b"y"), ("0.txt", b"two")]
    documents, dropped, _ = read("webdataset", write.tar(tmp_path / "a.tar", members))
    assert [(d.segments[0].data, d.segments[1].text) for d in documents] == [(b"x", " one\n"), (b"y", " two\n")]
    assert dropped == {}


@pytest.mark.parametrize(("cut", "kept"), [(512, 0), (1024, 0), (2048, 1), (2300, 1), (3000, 1), (4096, 2), (4608, 2)])
def test_a_truncated_tar_keeps_what_was_read_and_is_one_drop(write, read, tmp_path, cut, kept):
    path = write.tar(tmp_path / "a.tar", [("0.jpg", b"x"), ("0.txt", b"one"), ("1.jpg", b"y"), ("1.txt", b"two")])
    path.write_bytes(path.read_bytes()[:cut])
    documents, dropped, _ = read("webdataset", path)
    assert [document.id for document in documents] == ["a/0", "a/1"][:kept]
    if cut < 4608:
        assert dropped == {"truncated": 1}
    else:
        assert dropped == {}


def test_a_field_begins_at_the_first_dot_of_the_last_part():
    assert split_name("a.d/000.seg.PNG") == ("a.d/000", "seg.png")
    assert split_name("000") == ("000", "")
