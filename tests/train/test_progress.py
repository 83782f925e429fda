from __future__ import annotations

import io
import multiprocessing
import re
from contextlib import redirect_stdout
from typing import Any

import pytest

from mm1.cli import commands
from mm1.train import progress
from mm1.train.progress import Say, display


def record(step: int, **changes: Any) -> dict[str, Any]:
    values = {"step": step, "loss": 1.23456, "mfu": None, "flops_per_second": None, "data_pauses": 0.0}
    return {**values, "skipped_steps": 0, **changes}


def since(**changes: float) -> dict[str, float]:
    """Ten steps of two seconds each."""
    return {"steps": 10, "seconds": 20.0, "tokens": 10_000, "waited": 1.0, **changes}


class Terminal(io.StringIO):
    """A screen, as far as a bar of rich needs one."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What stands on it in the end."""
        lines, row = [""], 0
        for up, clear, end, text in re.findall(
            r"\x1b\[(\d+)A|(\x1b\[2K)|(\n)|([^\x1b\n\r]+)|\x1b\[\?25[lh]", self.getvalue()
        ):
            if clear:
                lines[row] = ""
            row += 1 if end else -int(up or 0)
            lines += [""] * (row + 1 - len(lines))
            lines[row] += text
        return [line.rstrip() for line in lines]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Of 80 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    return Terminal()


def lines_of(
    *shown: tuple[dict[str, Any], dict[str, float]], steps: int = 3610, stdout: io.StringIO | None = None
) -> list[str]:
    said: list[str] = []
    with redirect_stdout(stdout or io.StringIO()), display("text", steps, said.append) as lines:
        for one, passed in shown:
            lines.show(one, passed)
            lines.advance(one["step"])
    return said


def test_lines_have_loss_speed_waiting_and_remaining_time() -> None:
    said = lines_of((record(10), since()), (record(20, loss=0.5), since(waited=20.0, tokens=1_234_567)))
    assert said == [
        "text  10/3610 · loss 1.235 · 500 tokens/s · data 5% · remaining 2:00:00",
        "text  20/3610 · loss 0.5 · 61,728 tokens/s · data 100% · remaining 1:59:40",
    ]


@pytest.mark.parametrize(
    ("steps", "remaining"), [(10, "0:00"), (13, "0:06"), (45, "1:10"), (1809, "59:58"), (1810, "1:00:00")]
)
def test_remaining_time_is_that_of_the_steps_left_at_the_pace_of_the_last(steps: int, remaining: str) -> None:
    (line,) = lines_of((record(10), since()), steps=steps)
    assert line.endswith(f" · remaining {remaining}")


def test_no_loss_is_said_as_none() -> None:
    (line,) = lines_of((record(10, loss=None), since()))
    assert "loss none" in line


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mfu": 0.434, "flops_per_second": 4.3e14}, "500 tokens/s · MFU 43% · data 5%"),
        ({"flops_per_second": 4.3e14}, "500 tokens/s · 430.0 TFLOP/s · data 5%"),
        ({"flops_per_second": 1.23e9}, "500 tokens/s · 1.2 GFLOP/s · data 5%"),
        ({"flops_per_second": 9.99e11}, "500 tokens/s · 999.0 GFLOP/s · data 5%"),
        ({"data_pauses": 12.3}, "remaining 0:10 · paused 12 s for data"),
        ({"skipped_steps": 1}, "remaining 0:10 · 1 step skipped"),
        ({"data_pauses": 1.6, "skipped_steps": 3}, "remaining 0:10 · paused 2 s for data · 3 steps skipped"),
    ],
)
def test_what_is_used_of_the_machine_and_what_went_wrong(changes: dict[str, Any], text: str) -> None:
    first, second = lines_of((record(10, **changes), since()), (record(20), since()), steps=15)
    assert text in first
    assert text not in second


def test_seconds_of_many_ranks_are_not_taken_for_seconds_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "num_ranks", lambda: 8)
    (line,) = lines_of((record(10, data_pauses=96.0), since()))
    assert line.endswith(" · paused 96 s of 8 ranks together for data")


def test_a_terminal_of_80_columns_has_a_bar_with_its_steps_and_all_figures(screen: Terminal) -> None:
    said: list[str] = []
    with redirect_stdout(screen), display("pretrain", 690_000, said.append) as shown:
        shown.advance(1)
        shown.show(record(120_000, mfu=0.434, flops_per_second=4e14), since(tokens=246_912_345))
        shown.advance(120_000)
    assert said == []
    bar, figures = screen.lines()[-3:-1]
    assert bar.startswith("pretrain ━━━━")
    assert bar.endswith("120000/690000 remaining 316:40:00")
    assert figures == "  loss 1.235 · 12,345,617 tokens/s · MFU 43% · data 5%"


def test_a_bar_moves_and_counts_down_between_records_and_keeps_its_figures(screen: Terminal) -> None:
    with redirect_stdout(screen), display("text", 30, lambda line: None) as shown:
        shown.show(record(10, skipped_steps=2), since())
        shown.advance(10)
        shown.advance(15)
    bar, figures = screen.lines()[-3:-1]
    assert bar.endswith("15/30 remaining 0:30")
    assert figures == "  loss 1.235 · 500 tokens/s · data 5% · 2 steps skipped"


@pytest.mark.parametrize("say", [print, commands.say])
def test_what_is_said_under_a_bar_stands_on_lines_of_its_own(screen: Terminal, say: Say) -> None:
    with redirect_stdout(screen), display("text", 20, say) as shown:
        shown.show(record(10), since())
        shown.advance(10)
        say("trace.json.gz in the stage's folder")
    assert "trace.json.gz in the stage's folder" in screen.lines()


@pytest.mark.parametrize("why", ["a terminal that cannot move", "a worker of another process"])
def test_where_a_bar_would_be_in_the_way_there_are_lines(
    screen: Terminal, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "a terminal that cannot move":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    assert len(lines_of((record(10), since()), stdout=screen)) == 1
    assert screen.getvalue() == ""


def test_other_ranks_are_silent(screen: Terminal) -> None:
    said: list[str] = []
    with redirect_stdout(screen), display("text", 20, said.append, shown=False) as shown:
        shown.show(record(10), since())
        shown.advance(10)
    assert said == []
    assert screen.getvalue() == ""
