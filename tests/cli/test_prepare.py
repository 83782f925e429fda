"""`mm1 prepare` as it is typed: what it prints, what it leaves, how it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mm1.chain.workers import State
from mm1.cli.main import EXIT_USER_ERROR, main
from mm1.cli.progress import PrepareProgress


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"line {n}"}) + "\n" for n in range(5)) + "broken\n")
    return path


def prepare(*words: object) -> int:
    return main(["prepare", *map(str, words), "--processes", "1"])


def test_a_table_a_summary_and_the_folder_come_of_it(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = texts.parent / "out"
    assert prepare(f"mine={texts}", "--out", out, "--vocab-size", 300) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["mine:", "1", "file,", "text-json", "by", "JSON", "with", "text"] in printed
    assert ["mine:", "5", "documents,", "1", "dropped"] in printed
    tokens = json.loads((out / "summary.json").read_text())["tokens"]
    assert ["mine", "5", "0", str(tokens), f"{tokens / 5:.1f}"] in printed
    assert ["1", "documents", "invalid", "JSON", "first", f"{texts}:6"] in printed
    assert printed[-1] == ["Shards:", f"{out}/shards,", "figures:", f"{out}/summary.json"]
    assert prepare(f"mine={texts}", "--out", texts.parent / "again", "--tokenizer", out / "tokenizer.json") == 0
    again = texts.parent / "again"
    assert (again / "tokenizer.json").read_bytes() == (out / "tokenizer.json").read_bytes()
    assert (again / "shards/mine/index.json").read_bytes() == (out / "shards/mine/index.json").read_bytes()


def test_mistakes_are_one_sentence(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = texts.parent / "photo"
    image.write_bytes(b"\x89PNG\0")
    out = texts.parent / "out"
    for words, sentence in (
        ([image], f"mm1: {image} is neither a table, a tar, JSON nor text: name its format with --format, one of web"),
        ([texts, "--format", "txt"], "mm1: there is no format 'txt': name one of webdataset, captions"),
        ([texts.parent / "gone"], f"mm1: {texts.parent / 'gone'} is not there"),
    ):
        assert prepare(*words, "--out", out, "--vocab-size", 300) == EXIT_USER_ERROR
        error = capsys.readouterr().err
        assert error.startswith(sentence)
        assert error.count("\n") == 1
    for words, sentence in (
        (("--vocab-size", "99999999999"), "mm1: --vocab-size is 99999999999: input should be less than"),
        (("--processes", "0"), "mm1: --processes is 0: input should be greater than"),
        (("--processes", "-3"), "mm1: --processes is -3: input should be greater than"),
        (("--processes", "1", "--tokenizer-documents", "0"), "mm1: --tokenizer-documents is 0: input"),
    ):
        assert main(["prepare", str(texts), "--out", str(texts.parent / "refused"), *words]) == EXIT_USER_ERROR
        assert capsys.readouterr().err.startswith(sentence)
        assert not (texts.parent / "refused").exists()
    with pytest.raises(SystemExit):
        prepare(texts, "--out", out, "--vocab-size", 300, "--tokenizer", out)
    assert "--tokenizer: not allowed with argument --vocab-size" in capsys.readouterr().err


def test_no_room_is_one_sentence(
    texts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert prepare(texts, "--out", texts.parent / "out", "--vocab-size", 300) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert "No space left on device; make room, or give a path elsewhere" in error
    assert error.count("\n") == 1


def states(count: int) -> list[State]:
    return [State(100 * n, n, 2_000_000 * n, n, count, float(n)) for n in range(1, count + 1)]


def test_progress_is_plain_lines_now_and_then_and_a_bar_on_a_terminal() -> None:
    plain = io.StringIO()
    with PrepareProgress(Console(file=plain, width=120)) as told:
        for state in states(25):
            told(state)
    lines = plain.getvalue().splitlines()
    assert [line.rpartition(", ")[2] for line in lines] == ["10 of 25 parts", "20 of 25 parts", "25 of 25 parts"]
    assert lines[0] == "   1,000 documents, 10 dropped, 100 documents/s, 2.0 MB/s, 10 of 25 parts"
    terminal = io.StringIO()
    with PrepareProgress(Console(file=terminal, width=120, force_terminal=True)) as told:
        for state in states(25):
            told(state)
        told._bar.refresh()
        assert "100 documents/s, 2.0 MB/s" in terminal.getvalue()
        assert "25/25" in terminal.getvalue()
