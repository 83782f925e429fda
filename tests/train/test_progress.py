from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from mm1.train.progress import display


def record(step: int, **changes: Any) -> dict[str, Any]:
    values = {"step": step, "loss": 1.23456, "tokens": 1000 * step, "seconds": 2.0 * step, "time": {"data": 0.1 * step}}
    values |= {"mfu": None, "flops_per_second": None, "data_pauses": 0.0}
    return {**values, **changes}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_have_loss_speed_waiting_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    said: list[str] = []
    with display("text", 3610, said.append) as shown:
        for step in (10, 20):
            shown.show(record(step))
            shown.advance(step)
    assert said[0].startswith("text  10/3610 · loss 1.235 · 500 tokens/s · data 5% · remaining 2:00:00")
    assert said[1].startswith("text  20/3610")


def test_speed_is_of_the_last_interval_and_goes_on_after_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    said: list[str] = []
    with display("text", 100, said.append) as shown:
        shown.show(record(50))
        shown.show(record(60, seconds=101.0))
    assert "10,000 tokens/s" in said[1]
    assert "remaining 0:04" in said[1]


def test_no_loss_is_said_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    said: list[str] = []
    with display("text", 100, said.append) as shown:
        shown.show(record(10, loss=None))
    assert "loss none" in said[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mfu": 0.434, "flops_per_second": 4.3e14}, "500 tokens/s · MFU 43% · data 5%"),
        ({"flops_per_second": 4.3e14}, "500 tokens/s · 430.0 TFLOP/s · data 5%"),
        ({"flops_per_second": 1.23e9}, "500 tokens/s · 1.2 GFLOP/s · data 5%"),
        ({"data_pauses": 12.3}, "remaining 0:10 · paused 12 s for data"),
    ],
)
def test_what_is_used_of_the_machine_and_why_it_stood_still(
    changes: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    said: list[str] = []
    with display("text", 15, said.append) as shown:
        shown.show(record(10, **changes))
        shown.show(record(20))
    assert text in said[0]
    assert text not in said[1]


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    said: list[str] = []
    with display("text", 20, said.append) as shown:
        shown.advance(1)
        shown.show(record(20))
        shown.advance(20)
    assert said == []
    assert "20/20" in screen.getvalue()
    assert "500 tokens/s" in screen.getvalue()


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    said: list[str] = []
    with display("text", 20, said.append, shown=False) as shown:
        shown.show(record(10))
        shown.advance(10)
    assert said == []
    assert screen.getvalue() == ""
