from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import torch
from torch.distributed import HashStore

from mm1.config import UserError
from mm1.distributed.mesh import World, joined

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_a_process_is_alone_and_makes_no_group() -> None:
    with joined("cpu") as world:
        assert world == World(rank=0, size=1, device=torch.device("cpu"))
        assert world.is_first
        assert not torch.distributed.is_initialized()


def test_half_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="did not set WORLD_SIZE, LOCAL_RANK"), joined("cpu"):
        pass


def test_cuda_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA"), joined("cuda"):
        pass


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What listens where a launcher says that the store is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        yield server


def test_the_first_rank_with_a_mistake_tells_it_and_the_next_leaves_with_its_code(listener: socket.socket) -> None:
    store = HashStore()
    with pytest.raises(UserError, match="rows"), World(rank=1, size=2, store=store).telling_once():
        raise UserError("rows")
    with pytest.raises(SystemExit, match="2"), World(rank=0, size=2, store=store).telling_once():
        raise UserError("rows")


def test_a_store_whose_machine_answers_no_more_is_not_asked(listener: socket.socket) -> None:
    """Torch would write a page of C++ frames, or wait for minutes."""

    class Asked(HashStore):
        def add(self, key: str, amount: int) -> int:
            pytest.fail("asked")

    listener.close()
    with pytest.raises(UserError, match="rows"), World(rank=1, size=2, store=Asked()).telling_once():
        raise UserError("rows")
