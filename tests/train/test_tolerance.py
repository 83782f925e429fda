from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mm1.train.tolerance import Lines, Tolerant, heedless_of_full_disks, reason
from tests.full_disk import room_for


def fails(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_a_failure_is_said_when_it_begins_and_when_it_ends_each_time() -> None:
    said: list[str] = []
    writing = Tolerant("x could not be written", "x is written again", said.append)
    full = fails(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert writing.attempt(lambda: None)
    assert said == []
    assert [writing.attempt(full) for _ in range(3)] == [False] * 3
    assert said == ["x could not be written (No space left on device): training goes on, and it is tried again"]
    assert [writing.attempt(lambda: None) for _ in range(3)] == [True] * 3
    assert said[1:] == ["x is written again"]
    writing.attempt(full)
    assert said[2:] == said[:1]


def test_other_errors_than_those_named_are_heard() -> None:
    with pytest.raises(ValueError, match="a mistake of ours"):
        Tolerant("", "", print).attempt(fails(ValueError("a mistake of ours")))
    said: list[str] = []
    assert not Tolerant("x", "", said.append, ValueError).attempt(fails(ValueError("its own words")))
    assert said == ["x (its own words): training goes on, and it is tried again"]
    with pytest.raises(SystemExit):
        Tolerant("", "", print, Exception).attempt(fails(SystemExit(75)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "No space left on device"),
        (ConnectionError("the server is gone\nand more"), "the server is gone"),
        (RuntimeError("  padded "), "padded"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_reason_is_one_line_and_never_empty(error: Exception, words: str) -> None:
    assert reason(error) == words


def test_a_full_disk_delays_lines_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    said: list[str] = []
    lines = Lines(path, said.append)
    lines.append('{"step": 1}')
    whole = path.read_bytes()
    for step, room in ((2, len(whole) + 5), (3, 0)):
        with room_for(room):
            lines.append(f'{{"step": {step}}}')
        assert path.read_bytes() == whole, "half a line"
    assert said == [f"{path} could not be written (File too large): training goes on, and it is tried again"]
    lines.append('{"step": 4}')
    lines.append('{"step": 5}')
    assert path.read_text() == "".join(f'{{"step": {step}}}\n' for step in range(1, 6))
    assert said[1:] == [f"{path} is written again, without a gap"]
    with room_for(0):
        lines.append('{"step": 6}')
    assert said[2:] == said[:1], "another time is told too"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_silences_what_is_printed_to_it(number: int) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        if line == "lost":
            raise OSError(number, os.strerror(number))
        said.append(line)

    speak = heedless_of_full_disks(say)
    for line in ("one", "lost", "two"):
        speak(line)
    assert said == ["one", "two"]


def test_other_errors_of_what_prints_are_heard() -> None:
    def say(line: str) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    with pytest.raises(BrokenPipeError):
        heedless_of_full_disks(say)("line")
