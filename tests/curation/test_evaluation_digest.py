"""The hash of evaluations' content: files are read again only where something about them is not as it was."""

import json
import os
from pathlib import Path

import pytest

from mm1.curation import evaluation_files
from mm1.curation.decontaminate import digest
from mm1.curation.evaluation_digest import digest_of
from mm1.curation.evaluation_files import read_evaluations


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of questions that names pictures beside it, one of which is not there, and a picture in its own right."""
    folder = tmp_path / "vqa"
    (folder / "images").mkdir(parents=True)
    rows = [{"question": "What is it?", "image": f"images/{name}.img.png"} for name in ("a", "missing")]
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "images" / "a.img.png").write_bytes(b"picture")
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    call = evaluation_files._read
    monkeypatch.setattr(evaluation_files, "_read", lambda path, named: names.append(path.name) or call(path, named))
    return names


def changes(folder: Path) -> None:
    (folder / "questions.jsonl").write_text('{"question": "What was it?"}')


def grows(folder: Path) -> None:
    (folder / "more.txt").write_text("Where is it?")


def names_what_changes(folder: Path) -> None:
    (folder / "images" / "a.img.png").write_bytes(b"another")
    os.utime(folder / "images" / "a.img.png", ns=(1, 1))


def names_what_appears(folder: Path) -> None:
    (folder / "images" / "missing.img.png").write_bytes(b"here now")


def test_what_is_as_it_was_is_not_read_again(folder: Path, tmp_path: Path, read: list[str]) -> None:
    for paths in ([folder], [folder / "questions.jsonl"]):
        first = digest_of(paths, tmp_path / "work" / "seen.json")
        assert first == digest(read_evaluations(paths))
        read.clear()
        assert digest_of(paths, tmp_path / "work" / "seen.json") == first
        assert read == []


@pytest.mark.parametrize("happens", [changes, grows, names_what_changes, names_what_appears])
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_not_as_it_was_is_read_again(folder: Path, tmp_path: Path, happens, whole: bool) -> None:
    paths = [folder] if whole else [folder / "questions.jsonl"]
    before = digest_of(paths, tmp_path / "seen.json")
    happens(folder)
    after = digest_of(paths, tmp_path / "seen.json")
    assert after == digest(read_evaluations(paths))
    assert (after == before) == (happens is grows and not whole)


def test_moved_files_are_read_again_and_have_the_same_hash(folder: Path, tmp_path: Path, read: list[str]) -> None:
    before = digest_of([folder], tmp_path / "seen.json")
    read.clear()
    assert digest_of([folder.rename(tmp_path / "elsewhere")], tmp_path / "seen.json") == before
    assert read


@pytest.mark.parametrize(
    "spoilt", [b"", b"[]", b"{}", b"\xff", b'{"digest": "x"}', b'{"digest": "x", "found": 3, "beside": 3}']
)
def test_a_spoilt_record_counts_for_nothing(folder: Path, tmp_path: Path, spoilt: bytes) -> None:
    before = digest_of([folder], tmp_path / "seen.json")
    (tmp_path / "seen.json").write_bytes(spoilt)
    assert digest_of([folder], tmp_path / "seen.json") == before
