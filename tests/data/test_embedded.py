"""The shipped sample: what its splits promise, what its files hold, and that every part says where it came from."""

import subprocess
import sys
from importlib import resources

import numpy as np
import pyarrow.parquet as parquet
import pytest

from mm1.config import UserError
from mm1.data.embedded import caption_records, distractors, pages, texts
from mm1.data.image import read_image
from mm1.types import Image, Text

SOURCES = {"openclipart", "twemoji", "game_icons"}
SAMPLE = resources.files("mm1.data").joinpath("sample")


def everything():
    return [record for split in ("train", "test", "style_test") for record in caption_records(split)]


def test_the_splits_part_the_records():
    records = everything()
    assert len({record.id for record in records}) == len(records)
    assert len({record.image for record in records}) == len(records)
    assert {record.source for record in caption_records("train")} == SOURCES
    assert 0.08 < len(caption_records("test")) / len(records) < 0.2
    assert len(caption_records("style_test")) >= 150


@pytest.mark.parametrize("split", ["test", "style_test"])
def test_no_held_out_caption_is_trained_within_its_source(split):
    trained = {(record.source, record.caption) for record in caption_records("train")}
    assert not trained & {(record.source, record.caption) for record in caption_records(split)}


def test_style_concepts_are_trained_as_emoji_and_in_no_other_style():
    styles = {}
    for record in caption_records("train"):
        styles.setdefault(record.concept, set()).add(record.source)
    for record in caption_records("style_test"):
        assert record.source != "twemoji"
        assert styles[record.concept] == {"twemoji"}, record


def test_concepts_are_shared_by_sources():
    seen = {}
    for record in everything():
        if record.concept is not None:
            seen.setdefault(record.concept, set()).add(record.source)
    assert min(len(sources) for sources in seen.values()) >= 2
    assert len(seen) > 300


def test_captions_are_short_plain_names():
    for record in everything():
        assert record.caption.isascii()
        assert record.caption == record.caption.lower().strip()
        assert 1 <= len(record.caption.split()) <= 8
        assert not any(mark in record.caption for mark in ("_", "http", ".svg", "skin tone"))


def test_pictures_decode_and_are_not_blank():
    for record in everything()[::25]:
        assert np.asarray(read_image(record.image, 48)).std() > 5, record.id


def test_pages_hold_text_and_pictures_in_their_order():
    documents = list(pages())
    assert len({document.id for document in documents}) == len(documents) > 80
    for document in documents:
        assert isinstance(document.segments[0], Text), "a page begins with its title"
        assert document.images
        neighbours = zip(document.segments, document.segments[1:], strict=False)
        assert not any(isinstance(a, Text) and isinstance(b, Text) for a, b in neighbours)
    written = "".join(
        segment.text for document in documents for segment in document.segments if isinstance(segment, Text)
    )
    assert "¶" not in written
    assert len(written) > 100_000
    assert all(max(read_image(image.data, 48).size) <= 96 for image in documents[0].images)
    assert all(isinstance(image, Image) for image in documents[0].images)


def test_texts_are_plain_documents():
    documents = list(texts())
    assert len({document.id for document in documents}) == len(documents)
    assert all(len(document.segments) == 1 and not document.images for document in documents)
    assert sum(len(document.segments[0].text) for document in documents) > 250_000


@pytest.mark.parametrize("split", ["train", "test", "style_test"])
def test_distractors_are_names_of_other_things_of_the_same_kind(split):
    records = caption_records(split)
    captions = {source: {r.caption for r in records if r.source == source} for source in SOURCES}
    concepts = {(r.source, r.caption): r.concept for r in records}
    for record in records[::17]:
        names = distractors(record, 3, seed=0)
        assert len(set(names)) == 3
        assert set(names) <= captions[record.source] - {record.caption}
        for name in names:
            assert record.concept is None or concepts[record.source, name] != record.concept
            assert not set(name.split()) <= set(record.caption.split()), (record.caption, name)
            assert not set(record.caption.split()) <= set(name.split()), (record.caption, name)


def test_distractors_depend_on_seed_and_record_alone():
    record, other = [r for r in caption_records("test") if r.caption == "ice cream" and r.source == "openclipart"][:2]
    assert distractors(record, 5, seed=1) == distractors(record, 5, seed=1)
    assert distractors(record, 5, seed=1) != distractors(record, 5, seed=2)
    assert distractors(record, 5, seed=1) != distractors(other, 5, seed=1)
    code = (
        "import sys; from mm1.data.embedded import caption_records, distractors;"
        "record = next(record for record in caption_records('test') if record.id == sys.argv[1]);"
        "print('|'.join(distractors(record, 5, 1)), end='')"
    )
    printed = subprocess.run([sys.executable, "-c", code, record.id], capture_output=True, text=True, check=True).stdout
    assert printed.split("|") == distractors(record, 5, seed=1), "another process draws others"


def test_too_many_distractors_are_refused_with_both_numbers():
    record = caption_records("test")[0]
    with pytest.raises(UserError, match=r"100000 distractors .* only \d+ fit"):
        distractors(record, 100_000, seed=0)


def test_the_sample_is_small_and_says_where_it_came_from():
    files = {file.name: len(file.read_bytes()) for file in SAMPLE.iterdir()}
    assert sum(files.values()) < 6_000_000
    readme = SAMPLE.joinpath("README.md").read_text()
    named = set().union(
        *(
            parquet.read_table(str(SAMPLE.joinpath(name)), columns=["source"])["source"].to_pylist()
            for name in files
            if name.endswith(".parquet")
        )
    )
    assert [source for source in named if f"`{source}`" not in readme] == []
    assert [name for name in files if name.startswith("LICENSE") and name not in readme] == []


def test_every_author_of_a_pictogram_is_credited():
    table = parquet.read_table(str(SAMPLE.joinpath("captions.parquet")), columns=["source", "author"]).to_pylist()
    assert all(row["author"] for row in table if row["source"] in ("game_icons", "twemoji"))
    readme = SAMPLE.joinpath("README.md").read_text()
    names = {name for row in table if row["source"] == "game_icons" for name in row["author"].split(", ")}
    assert [name for name in names if name.removesuffix(" (CC0)") not in readme] == []


def test_the_readme_counts_what_is_there():
    readme = SAMPLE.joinpath("README.md").read_text()
    illustrated = list(pages())
    pictures = sum(len(document.images) for document in illustrated)
    assert f"{len(everything()):,} pictures" in readme
    assert f"{len(illustrated)} illustrated pages, {pictures} pictures" in readme
    assert f"{len(list(texts()))} texts" in readme
    for source in SOURCES:
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{source}` |"))
        counts = [sum(r.source == source for r in caption_records(split)) for split in ("train", "test", "style_test")]
        assert row == f"| `{source}` | " + " | ".join(f"{count:,}" if count else "-" for count in counts) + " |"
