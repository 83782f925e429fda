"""Hugging Face's imagefolder: captions in metadata.jsonl, pictures beside it."""

from mm1.types import Document, Image, Text


def test_every_line_is_a_captioned_picture_of_the_folder(write, read, tmp_path):
    folder = tmp_path / "train"
    (folder / "cats").mkdir(parents=True)
    for name in ("1.png", "cats/2.png"):
        (folder / name).write_bytes(name.encode())
    rows = [
        {"file_name": "1.png", "text": " a dog ", "label": 3},
        {"file_name": "cats/2.png", "caption": "a cat", "text": "not this"},
        {"file_name": "3.png", "text": "gone"},
        {"file_name": "../train/1.png", "text": "out"},
        {"file_name": "1.png", "text": None},
        {"text": "a"},
    ]
    path = write.jsonl(folder / "metadata.jsonl", rows)
    documents, dropped, _ = read("imagefolder", path)
    assert documents == [
        Document("train/1.png", (Image(b"1.png"), Text(" a dog\n"))),
        Document("train/cats/2.png", (Image(b"cats/2.png"), Text(" a cat\n"))),
    ]
    assert dropped == {"missing image": 1, "image outside its folder": 1, "no caption": 1, "no file_name": 1}
    chosen, _, _ = read("imagefolder", path, text="text", images=folder)
    assert chosen[1].segments[1] == Text(" not this\n")
