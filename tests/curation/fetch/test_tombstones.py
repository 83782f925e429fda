"""The record of failures survives whatever stops its writer."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.fetch import Fetched, Tombstones

GONE = Fetched("http://a.example/gone", reason="http_404", permanent=True)
DOWN = Fetched("http://a.example/down", reason="timeout", permanent=False)


def test_permanent_failures_hold_for_ever_and_temporary_ones_for_a_while(tmp_path: Path) -> None:
    with Tombstones(tmp_path / "t.jsonl", 100, clock=lambda: 1000.0) as tombstones:
        tombstones.record(GONE)
        tombstones.record(DOWN)
        tombstones.record(Fetched("http://a.example/ok", data=b"x"))
        assert tombstones.recall(DOWN.url) == DOWN
    for now, down in [(1099.0, DOWN), (1100.0, None)]:
        with Tombstones(tmp_path / "t.jsonl", 100, clock=lambda now=now: now) as tombstones:
            assert tombstones.recall(GONE.url) == GONE
            assert tombstones.recall(DOWN.url) == down
            assert tombstones.recall("http://a.example/ok") is None


def test_the_last_word_about_an_address_counts(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with Tombstones(path) as tombstones:
        tombstones.record(Fetched(GONE.url, reason="timeout"))
        tombstones.record(GONE)
    with Tombstones(path) as tombstones:
        assert tombstones.recall(GONE.url) == GONE


def test_the_record_is_on_file_before_the_writer_ends(tmp_path: Path) -> None:
    with Tombstones(tmp_path / "t.jsonl") as tombstones:
        tombstones.record(GONE)
        assert json.loads((tmp_path / "t.jsonl").read_text())["reason"] == "http_404"


@given(cut=st.integers(0, 400), rubbish=st.binary(max_size=20))
def test_a_torn_end_costs_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int, rubbish: bytes) -> None:
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    several = [Fetched(f"http://a.example/{number}ü\ud800", reason="http_404", permanent=True) for number in range(3)]
    with Tombstones(path) as tombstones:
        for outcome in several:
            tombstones.record(outcome)
    lines = path.read_bytes().splitlines(keepends=True)
    torn = path.read_bytes()[:cut]
    path.write_bytes(torn + rubbish)
    whole = 0
    while whole < 3 and len(b"".join(lines[: whole + 1])) <= cut:
        whole += 1
    with Tombstones(path) as tombstones:
        assert [tombstones.recall(outcome.url) for outcome in several[:whole]] == several[:whole]
        tombstones.record(GONE)
    with Tombstones(path) as tombstones:
        assert tombstones.recall(GONE.url) == GONE
        assert [tombstones.recall(outcome.url) for outcome in several[:whole]] == several[:whole]


SOUND = {"url": "u", "reason": "timeout", "permanent": True, "time": 1}
SPOILT = [SOUND | {"url": 5}, SOUND | {"reason": 5}, SOUND | {"reason": "A-B"}, SOUND | {"time": "1"}, [], {}, None]


@pytest.mark.parametrize("line", [*map(json.dumps, SPOILT), "[" * 100_000, '{"url'])
def test_a_line_that_was_spoilt_costs_only_itself(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(f"{line}\n{json.dumps(SOUND | {'url': 'v'})}\n")
    with Tombstones(path) as tombstones:
        assert tombstones.recall("u") is None
        assert tombstones.recall("v") == Fetched("v", reason="timeout", permanent=True)
