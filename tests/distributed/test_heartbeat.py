from __future__ import annotations

import contextlib
import threading

import pytest
from torch.distributed import PrefixStore, TCPStore

from mm1.distributed.heartbeat import Heartbeat

SOON = {"period": 0.02, "patience": 1.0}


class Leaving:
    """What ranks said when they left."""

    def __init__(self, size: int) -> None:
        self.left = [threading.Event() for _ in range(size)]
        self.words: list[str] = []

    def of(self, rank: int) -> object:
        def leave(sentence: str) -> None:
            self.words += [sentence] if sentence else []
            self.left[rank].set()

        return leave


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
    return Heartbeat(PrefixStore("x", store.clone()), rank, len(leaving.left), leave=leaving.of(rank), **SOON)  # type: ignore[arg-type]


def test_a_rank_that_falls_silent_is_named_and_all_the_others_leave(store: TCPStore) -> None:
    leaving, mute = Leaving(4), Mute(store)
    with contextlib.ExitStack() as stack:
        for rank in (0, 1, 3):
            stack.enter_context(beating(store, rank, leaving))
        stack.enter_context(Heartbeat(mute, 2, 4, leave=leaving.of(2), **SOON))  # type: ignore[arg-type]
        assert not leaving.left[1].wait(1.3)  # longer than the patience: all are alive
        mute.is_cut = True
        assert all(leaving.left[rank].wait(20) for rank in (0, 1, 3))
    assert any(sentence.startswith("rank 2 of 4 has given no sign") for sentence in leaving.words)


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

    leaving = Leaving(2)
    with Heartbeat(Dead(), 1, 2, leave=leaving.of(1), **SOON):  # type: ignore[arg-type]
        assert leaving.left[1].wait(20)
    assert leaving.words[0].startswith("rank 0 of 2 has given no sign")
