"""Pages of sentences: each picture before the sentence it was matched to."""

import base64

from mm1.types import Document, Image, Text


def row(*indices, **changes):
    info = [{"image_name": f"{index}.jpg", "matched_text_index": index} for index in indices]
    return {"text_list": ["Zero.", "One.", "Two."], "image_info": info, "similarity_matrix": [[0.1]], **changes}


def test_pictures_stand_before_their_sentences(write, read, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.jpg").write_bytes(b"x" * (index + 1))
    inline = {"image_base64": base64.b64encode(b"inline").decode(), "matched_text_index": 1}
    path = write.jsonl(tmp_path / "docs.jsonl", [row(2, 0), row(image_info=[inline]), row(), row(1, 1)])
    documents, dropped, lost = read("mmc4", path, images=folder)
    assert documents == [
        Document("docs/1", (Image(b"x"), Text("Zero. One."), Image(b"xxx"), Text("Two."))),
        Document("docs/2", (Text("Zero."), Image(b"inline"), Text("One. Two."))),
        Document("docs/3", (Text("Zero. One. Two."),)),
        Document("docs/4", (Text("Zero."), Image(b"xx"), Image(b"xx"), Text("One. Two."))),
    ]
    assert dropped == lost == {}


def test_pictures_that_can_not_be_had_are_counted_and_rows_of_other_shapes_dropped(write, read, tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"x")
    secret = tmp_path.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    odd = [
        {"raw_url": "https://example.org", "matched_text_index": 0},
        {"image_name": "gone.jpg", "matched_text_index": 0},
        {"image_name": "../secret.jpg", "matched_text_index": 0},
        {"image_name": str(secret), "matched_text_index": 0},
        {"image_name": ".", "matched_text_index": 0},
        {"image_name": "0.jpg", "matched_text_index": 3},
        {"image_name": "0.jpg"},
        {"image_base64": "!", "matched_text_index": 0},
        "no object",
    ]
    rows = [row(image_info=[*row(0)["image_info"], *odd]), row(image_info=odd[:1]), row(text_list=["a", 1])]
    documents, dropped, lost = read("mmc4", write.jsonl(tmp_path / "docs.jsonl", [*rows, {"text_list": []}]))
    assert [document.segments for document in documents] == [(Image(b"x"), Text("Zero. One. Two."))]
    assert dropped == {"no image left": 1, "no text_list": 1, "no image_info": 1}
    assert lost == {
        "image without bytes": 2, "missing image": 2, "image outside its folder": 2, "image matched to no sentence": 1,
        "no matched_text_index": 2, "broken base64": 1,
    }  # fmt: skip


def test_a_row_that_names_a_picture_often_is_one_drop(write, read, tmp_path, monkeypatch):
    """Before its pictures are together in memory."""
    monkeypatch.setattr("mm1.data.formats.mmc4.MAX_DOCUMENT_BYTES", 1000)
    (tmp_path / "0.jpg").write_bytes(b"x" * 100)
    path = write.jsonl(tmp_path / "docs.jsonl", [row(*[0] * 11), row(*[0] * 10)])
    documents, dropped, _ = read("mmc4", path)
    assert [len(document.images) for document in documents] == [10]
    assert dropped == {"document too large": 1}
