"""Which files a source is made of, how they are grouped, and what a wrong one is told."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import ConfigError, UserError
from mm1.data.formats.catalog import DamagedFile
from mm1.data.formats.files import FilesConfig, files_of, find, fingerprint_of, group, sources_of


def source(*paths, **changes):
    return FilesConfig(name="mine", paths=paths, **changes)


@pytest.fixture
def folder(write, tmp_path):
    """An img2dataset folder with what stands beside tars, in a folder with other things."""
    (tmp_path / "deep").mkdir()
    for number in (1, 0):
        write.tar(tmp_path / f"0000{number}.tar", [("0.jpg", b"x"), ("0.txt", b"y")])
        write.table(tmp_path / f"0000{number}.parquet", {"url": ["u"], "caption": ["c"]})
        (tmp_path / f"0000{number}_stats.json").write_text("{}")
    write.tar(tmp_path / "deep" / "2.tar", [("0.jpg", b"x"), ("0.txt", b"y")])
    for name in (".hidden.tar", "_SUCCESS", "photo.jpg", "notes.doc"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_a_folder_is_searched_in_order_and_what_belongs_to_a_file_is_left_out(folder):
    names = ["00000.tar", "00001.tar", "deep/2.tar"]
    assert [str(path.relative_to(folder)) for path in files_of([folder])] == names
    found = find(source(folder))
    assert (found.format.format, len(found.files)) == ("webdataset", 3)
    twice = files_of([folder / "00001.tar", folder, folder / "00001.tar"])
    assert [path.name for path in twice] == ["00001.tar", "00000.tar", "2.tar"]


def test_what_tells_of_tables_is_no_source(write, tmp_path):
    """As img2dataset writes parquet, and as datasets of the Hugging Face hub come; a file that is named is read."""
    (tmp_path / "data").mkdir()
    write.table(tmp_path / "data" / "00000.parquet", {"jpg": [b"x"], "caption": ["c"]})
    (tmp_path / "data" / "00000_stats.json").write_text('{"count": 1}')
    for name in ("README.md", "LICENSE.txt", "dataset_infos.json"):
        (tmp_path / name).write_text("---\nlicense: mit\n---\n")
    found = find(source(tmp_path))
    assert (found.format.format, [path.name for path in found.files]) == ("captions", ["00000.parquet"])
    assert [path.name for path in files_of([tmp_path / "README.md"])] == ["README.md"]


def test_annotations_beside_questions_are_no_source(tmp_path):
    for name in ("v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json"):
        (tmp_path / name).write_text('{"questions": []}')
    assert [path.name for path in find(source(tmp_path)).files] == ["v2_OpenEnded_mscoco_train2014_questions.json"]


def test_files_of_several_formats_in_one_source_are_one_sentence(folder, write):
    write.jsonl(folder / "texts.jsonl", [{"text": "a"}])
    with pytest.raises(UserError, match=r"several formats \(.*00000.tar is webdataset, .*texts.jsonl is text-json\)"):
        find(source(folder))
    named = find(source(folder, format="text-json"))
    assert (named.format.format, len(named.files)) == ("text-json", 4)


def test_a_damaged_file_goes_with_its_kind_and_alone_is_told(folder):
    (folder / "00000.tar").write_bytes(b"")
    assert len(find(source(folder)).files) == 3
    with pytest.raises(DamagedFile, match=r"00000\.tar is empty"):
        find(source(folder / "00000.tar"))


def test_a_table_without_the_columns_is_told_before_anything_is_read(write, tmp_path):
    write.table(tmp_path / "0.parquet", {"jpg": [b"x"], "caption": ["c"]})
    write.table(tmp_path / "1.parquet", {"jpg": [b"x"], "kaption": ["c"]})
    with pytest.raises(UserError, match=r"1.parquet has the columns jpg \(bytes\), kaption \(text\), but none"):
        find(source(tmp_path, format="captions"))


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("nowhere", "nowhere is not there"),
        ("empty", r"holds no file that ends in .tar, .tgz"),
        ("name=nowhere", "nowhere is not there"),
        ("a/b=empty", "'name' is 'a/b'"),
    ],
)
def test_words_that_give_no_source_are_one_sentence(tmp_path, monkeypatch, word, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=sentence):
        list(map(find, sources_of([word])))


def test_an_unknown_format_is_one_sentence(folder):
    with pytest.raises(UserError, match=r"no format 'webdatset': name one of webdataset, captions"):
        find(source(folder, format="webdatset"))


def test_words_become_sources_by_name_or_by_format(folder, write, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write.jsonl(other / "a=b.jsonl", [{"text": "a"}])
    configs = sources_of([f"cc={folder / 'deep'}", str(other / "a=b.jsonl"), str(folder / "00000.tar"), f"cc={folder}"])
    assert [(config.name, len(files_of(config.paths))) for config in configs] == [
        ("cc", 3), ("text-json", 1), ("webdataset", 1),
    ]  # fmt: skip
    (config,) = sources_of([str(other)], "text", text="column")
    assert (config.name, config.format, config.options.text) == ("text", "text", "column")


def test_a_name_can_not_lead_out_of_the_folder():
    for name in ("..", "a/b", "", "-a"):
        with pytest.raises((ConfigError, ValueError)):
            FilesConfig(name=name, paths=("x",))


@given(sizes=st.lists(st.integers(0, 12), max_size=20))
def test_groups_hold_all_files_in_order_within_their_size(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("files")
    files = [folder / str(number) for number in range(len(sizes))]
    for path, size in zip(files, sizes, strict=True):
        path.write_bytes(b"x" * size)
    groups = group(files, 10)
    assert [path for paths in groups for path in paths] == files
    totals = [sum(path.stat().st_size for path in paths) for paths in groups]
    assert all(total <= 10 or len(paths) == 1 for total, paths in zip(totals, groups, strict=True))
    for total, following in zip(totals, groups[1:], strict=False):
        assert total + following[0].stat().st_size > 10


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "t.jsonl"
    path.write_text(json.dumps({"text": "a"}))
    before = fingerprint_of(source(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    path = tmp_path / "b" / "t.jsonl"
    assert fingerprint_of(source(tmp_path / "b")) == fingerprint_of(source(path)) == before
    os.utime(path, ns=(0, 0))
    assert fingerprint_of(source(path)) != before


def test_answers_that_change_are_seen_as_questions_are(tmp_path):
    (tmp_path / "v2_OpenEnded_questions.json").write_text('{"questions": []}')
    answers = tmp_path / "v2_annotations.json"
    answers.write_text('{"annotations": []}')
    before = fingerprint_of(source(tmp_path))
    assert fingerprint_of(source(tmp_path)) == before
    answers.write_text('{"annotations": [{}]}')
    assert fingerprint_of(source(tmp_path)) != before


def test_pictures_that_change_are_seen_as_the_files_that_name_them(write, tmp_path):
    pictures = tmp_path / "elsewhere" / "deep"
    pictures.mkdir(parents=True)
    path = write.jsonl(tmp_path / "chats.jsonl", [{"conversations": []}])
    configs = [source(path), source(path, images=tmp_path / "elsewhere"), source(path, images=tmp_path / "gone")]
    seen = [[fingerprint_of(config) for config in configs]]
    for change in (
        lambda: (pictures / "a.jpg").write_bytes(b"x"),
        lambda: (pictures / "a.jpg").write_bytes(b"yy"),
        lambda: os.utime(pictures / "a.jpg", ns=(0, 0)),
        lambda: (pictures / "a.jpg").rename(pictures / "b.JPG"),
    ):
        change()
        seen.append([fingerprint_of(config) for config in configs])
    own, given, gone = zip(*seen, strict=True)
    assert len(set(own)) == len(set(given)) == 5
    assert len(set(gone)) == 1
    (pictures / "notes.txt").write_text("no picture")
    assert [fingerprint_of(config) for config in configs] == seen[-1]


def test_pictures_beside_tables_are_none_of_their_business(write, tmp_path):
    config = source(write.table(tmp_path / "0.parquet", {"text": ["a"]}))
    before = fingerprint_of(config)
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert fingerprint_of(config) == before
