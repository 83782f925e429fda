from __future__ import annotations

import pytest
import torch

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
