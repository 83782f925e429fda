"""Pages of parallel lists keep their order; a lost picture costs itself, and a page only with its last one."""

import pyarrow as pa
import pytest

from mm1.config import UserError
from mm1.types import Document, Image, Text

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXTS = pa.list_(pa.string())


def test_segments_stand_in_order(write, read, tmp_path):
    rows = [[None, b"x", None, b"y"], [None]]
    texts = [["Once", None, "upon", None], ["text alone <image>"]]
    for kind, wrap in ((pa.binary(), bytes), (PICTURE, lambda data: {"bytes": data, "path": None})):
        images = pa.array([[data and wrap(data) for data in row] for row in rows], pa.list_(kind))
        path = write.table(tmp_path / "p.parquet", {"images": images, "texts": pa.array(texts, TEXTS)})
        documents, dropped, lost = read("obelics", path)
        assert documents == [
            Document("p/0", (Text("Once"), Image(b"x"), Text("upon"), Image(b"y"))),
            Document("p/1", (Text("text alone <image>"),)),
        ]
        assert dropped == lost == {}


def test_urls_and_nulls_are_lost_pictures_and_the_texts_around_them_stay_apart(write, read, tmp_path):
    empty = {"bytes": None, "path": None}
    images = [[None, empty, None, {"bytes": b"x", "path": None}], [empty, None], [None, None], [None], []]
    texts = [["one", None, "two", None], [None, "three"], [None, None], ["a", "b"], []]
    columns = {"images": pa.array(images, pa.list_(PICTURE)), "texts": pa.array(texts, TEXTS)}
    documents, dropped, lost = read("obelics", write.table(tmp_path / "p.parquet", columns))
    assert [document.segments for document in documents] == [(Text("one\n\ntwo"), Image(b"x"))]
    assert dropped == {"no image left": 1, "empty document": 2, "images and texts differ in number": 1}
    assert lost == {"image without bytes": 2}


def test_the_published_urls_may_name_files_of_a_folder(write, read, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    images = pa.array([["a.jpg", "https://example.org/b.jpg", "../a.jpg", "/etc/passwd", None]], TEXTS)
    texts = pa.array([[None, None, None, None, "text"]], TEXTS)
    path = write.table(tmp_path / "p.parquet", {"images": images, "texts": texts})
    documents, _, lost = read("obelics", path, images=tmp_path)
    assert documents[0].segments == (Image(b"x"), Text("text"))
    assert lost == {"image without bytes": 1, "image outside its folder": 2}
    assert read("obelics", path) == ([], {"no image left": 1}, {"image without bytes": 4})


def test_other_columns_are_one_sentence(write, read, tmp_path):
    path = write.table(tmp_path / "p.parquet", {"images": pa.array([[b"x"]]), "texts": ["no list"]})
    with pytest.raises(UserError, match=r"texts \(text\), but none is named texts and holds list of text"):
        read("obelics", path)
