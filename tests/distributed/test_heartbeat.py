from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed import DistNetworkError, HashStore, PrefixStore, TCPStore

from mm1.distributed import heartbeat
from mm1.distributed.heartbeat import PATIENCE, PERIOD, Heartbeat
from mm1.distributed.lost import RankLost

SOON = {"period": 0.02, "patience": 1.0}


class Leaving:
    """What ranks said when they left."""

    def __init__(self, size: int) -> None:
        self.left = [threading.Event() for _ in range(size)]
        self.words: list[str] = []

    def of(self, rank: int) -> dict[str, Any]:
        return {"tell": self.words.append, "leave": self.left[rank].set}


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


class Mute:
    """A store that a rank can be cut off from, as when its process is gone."""

    def __init__(self, store: TCPStore) -> None:
        self.store, self.is_cut = PrefixStore("x", store.clone()), False

    def set(self, key: str, value: str) -> None:
        if not self.is_cut:
            self.store.set(key, value)

    def check(self, keys: list[str]) -> bool:
        return not self.is_cut and bool(self.store.check(keys))

    def get(self, key: str) -> bytes:
        return bytes(self.store.get(key))


def beating(store: TCPStore, rank: int, leaving: Leaving) -> Heartbeat:
    return Heartbeat(PrefixStore("x", store.clone()), rank, len(leaving.left), **leaving.of(rank), **SOON)


def test_a_rank_that_falls_silent_is_named_and_all_the_others_leave(store: TCPStore) -> None:
    leaving, mute = Leaving(4), Mute(store)
    with contextlib.ExitStack() as stack:
        for rank in (0, 1, 3):
            stack.enter_context(beating(store, rank, leaving))
        stack.enter_context(Heartbeat(mute, 2, 4, **leaving.of(2), **SOON))  # type: ignore[arg-type]
        assert not leaving.left[1].wait(1.3)  # longer than the patience: all are alive
        mute.is_cut = True
        assert all(leaving.left[rank].wait(20) for rank in (0, 1, 3))
    assert [sentence for sentence in leaving.words if sentence.startswith("rank 2 of 4 has given no sign for 1 s, ")]
    # Nobody else: the silent one, which hears nothing either, speaks for itself.
    ends = {sentence.split(": ")[1].split(" ends;")[0] for sentence in leaving.words}
    assert "rank 1" in ends
    assert ends <= {"rank 1", "rank 2"}


def test_a_rank_that_leaves_in_order_is_missed_by_nobody(store: TCPStore) -> None:
    leaving = Leaving(2)
    with beating(store, 0, leaving):
        with beating(store, 1, leaving):
            pass
        assert not leaving.left[0].wait(1.3)
    assert not leaving.words


def test_the_end_of_the_store_is_silence(store: TCPStore) -> None:
    class Dead:
        def set(self, key: str, value: str) -> None:
            raise RuntimeError("Broken pipe")

    leaving = Leaving(3)
    with Heartbeat(Dead(), 1, 3, **leaving.of(1), **SOON):  # type: ignore[arg-type]
        assert leaving.left[1].wait(20)
    assert leaving.words[0].startswith("rank 0 of 3 has given no sign")  # not its neighbour, of whom it hears nothing


class MadeClock:
    """Of the module under test: stands still until it is set, and knows how often each thread has looked at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.looks = 0.0, Counter[int]()
        monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=self))

    def __call__(self) -> float:
        self.looks[threading.get_ident()] += 1
        return self.now

    def set(self, now: float) -> None:
        """Returns when both threads of a heartbeat have looked several times."""
        self.now, before = now, self.looks.copy()
        for _ in range(20_000):
            time.sleep(0.001)
            if sum(self.looks[thread] > before[thread] + 8 for thread in list(self.looks)) >= 2:
                return
        pytest.fail("a thread of the heartbeat has ended")


def goes_on(store: HashStore, count: str) -> None:
    """Returns when a rank has counted on a few times."""
    enough = int(store.get(count)) + 4
    for _ in range(20_000):
        if int(store.get(count)) >= enough:
            return
        time.sleep(0.001)
    pytest.fail(f"{count} stands still")


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Codes with which the process would have ended."""
    codes: list[int] = []
    monkeypatch.setattr(heartbeat.os, "_exit", codes.append)
    return codes


def test_silence_is_borne_for_the_patience_and_ends_the_process_with_a_sentence_and_69(
    monkeypatch: pytest.MonkeyPatch, exits: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    clock, store = MadeClock(monkeypatch), HashStore()
    with Heartbeat(store, 0, 2, period=0.002) as beating:
        clock.set(PATIENCE - 1)
        store.set("count/1", "1")
        clock.set(PATIENCE - 1)  # heard
        clock.set(2 * PATIENCE - 2)
        assert exits == []
        clock.now = 2 * PATIENCE
        beating._threads[1].join(60)
        goes_on(store, "count/0")  # it reads its own word there, and leaves the end to who tells
    assert exits == [69]
    sentences = [line for line in capfd.readouterr().err.splitlines() if line]
    assert sentences == [
        f"mm1: rank 1 of 2 has given no sign for {PATIENCE:.0f} s, its process or machine is gone or stopped: rank 0 "
        "ends; the same command goes on from the last checkpoint"
    ]
    assert store.get("lost") == b"rank 1"


def test_who_reads_that_a_rank_is_lost_ends_without_a_word(exits: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    store = HashStore()
    store.set("lost", "rank 3")
    with Heartbeat(store, 0, 4, period=0.002) as beating:
        beating._threads[0].join(60)
    assert exits == [69]
    assert capfd.readouterr().err == ""


def test_who_loses_a_rank_by_a_broken_connection_leaves_the_word_too(exits: list[int]) -> None:
    """Its own end is in order, so its neighbour would not miss it, and nobody else need have a broken connection."""
    store = HashStore()
    with pytest.raises(RankLost), Heartbeat(store, 1, 4, period=0.002):
        raise RankLost("another rank ended")
    with Heartbeat(store, 0, 4, period=0.002) as beating:
        beating._threads[0].join(60)
    assert exits == [69]


def test_a_broken_connection_to_the_store_is_tried_once() -> None:
    """It does not come back, and each attempt would write a page of C++ frames to the user's terminal."""

    class Broken:
        attempts = 0

        def set(self, key: str, value: str) -> None:
            self.attempts += 1
            raise DistNetworkError("Broken pipe")

    store = Broken()
    with Heartbeat(store, 1, 3, period=0.002, tell=print, leave=lambda: None) as beating:  # type: ignore[arg-type]
        beating._threads[0].join(60)
        assert not beating._threads[0].is_alive()
    assert store.attempts == 1


def test_who_leaves_in_order_is_borne_for_ever(monkeypatch: pytest.MonkeyPatch, exits: list[int]) -> None:
    clock, store = MadeClock(monkeypatch), HashStore()
    with Heartbeat(store, 1, 2, period=0.002):
        pass
    assert store.get("count/1") == b"left"
    with Heartbeat(store, 0, 2, period=0.002):
        for number in range(4):
            clock.set(number * (PATIENCE - 1))
    assert exits == []


def test_a_loss_is_noticed_within_a_minute_and_not_for_a_few_late_counts() -> None:
    """A count may stand for a period before it is read, and what is late for a period before it is looked at."""
    assert 5 * PERIOD <= PATIENCE
    assert PATIENCE + 2 * PERIOD < 60


def test_a_store_that_fails_for_a_while_is_tried_again() -> None:
    """Neighbours would take a rank for gone that counts no longer."""

    class Failing(HashStore):
        failures = 3

        def set(self, key: str, value: str) -> None:
            self.failures -= 1
            if self.failures >= 0:
                raise RuntimeError("Connection reset by peer")
            super().set(key, value)

    store = Failing()
    with Heartbeat(store, 0, 2, period=0.002, tell=print, leave=lambda: None):
        store.wait(["count/0"], timedelta(seconds=20))
    assert store.failures < 0
