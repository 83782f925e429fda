"""Who we are among the processes of a run: rank, number of ranks, device. The one place that reads the launcher.

    with joined() as world:                      # python train.py            → World(rank=0, size=1)
        model.to(world.device)                   # torchrun --nproc 8 train.py → World(rank=3, size=8)

The process group is gloo on the CPU and NCCL on CUDA; a run of one process makes none at all. Knows nothing of what
is computed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from mm1.config import UserError
from mm1.distributed.deaths import telling_of_deaths
from mm1.distributed.heartbeat import Heartbeat
from mm1.distributed.lost import EX_UNAVAILABLE, RankLost

TOLD_ELSEWHERE = 2
"""The exit code of a rank whose mistake another rank reports; that of the one which does."""
PROBE = 5.0
"""Seconds in which the machine that keeps the store has to answer a rank that is about to end."""
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The place of this process among those that train one model together."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    store: Store | None = None
    """What the ranks share without waiting for each other; only where the group was joined here."""

    @property
    def is_first(self) -> bool:
        """True on the one rank that writes files and speaks to the user."""
        return self.rank == 0

    def mesh(self, replicate: int = 1) -> DeviceMesh:
        """Over axis "shard" a copy of the parameters is cut, and over axis "replicate", if there are several, copied.

        Neighbours are in the same shard. Gradients are summed over both.
        """
        assert self.size > 1, "a single process has no mesh"
        if replicate == 1:
            return init_device_mesh(self.device.type, (self.size,), mesh_dim_names=("shard",))
        shape = (replicate, self.size // replicate)
        return init_device_mesh(self.device.type, shape, mesh_dim_names=("replicate", "shard"))

    def expert_mesh(self, replicate: int, experts: int) -> DeviceMesh:
        """The same ranks, shards taken apart: experts are dealt out over "experts", each is cut over "expert_shard"."""
        shape = (replicate, self.size // (replicate * experts), experts)
        return init_device_mesh(self.device.type, shape, mesh_dim_names=("replicate", "expert_shard", "experts"))

    @contextmanager
    def telling_once(self) -> Iterator[None]:
        """Lets a UserError out on the first rank that has it; the others that have the same leave without a word."""
        try:
            yield
        except UserError as error:
            if self._is_told(str(error)):
                raise SystemExit(TOLD_ELSEWHERE) from None
            raise

    def _is_told(self, sentence: str) -> bool:
        if self.store is None or not _is_store_there():  # each speaks for itself
            return False
        try:
            return self.store.add(f"told/{sentence}", 1) > 1
        except RuntimeError:  # it went just now
            return False


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else CPU


@contextmanager
def joined(device: str | None = None) -> Iterator[World]:
    """Joins the process group that the launcher describes, and leaves it at the end if it was joined here.

    `device` is "cpu" or "cuda"; by default CUDA where there is one.

    Raises:
        UserError: CUDA is asked for where there is none, or the launcher set only a part of its variables.
        RankLost: another rank ended while this one was in; where the group was joined here, on the first that says so,
            and the others that notice leave without a word.
    """
    kind = device or default_device().type
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda was asked for, but torch sees no CUDA device here: leave device out")
    rank, size, local_rank = _launcher_variables()
    target = torch.device(kind, local_rank % torch.cuda.device_count()) if kind == "cuda" else CPU
    if target.type == "cuda":
        torch.cuda.set_device(target)
    joins = size > 1 and not dist.is_initialized()
    store: Store | None = None
    if joins:
        store, _, _ = next(iter(rendezvous("env://", rank=rank, world_size=size)))
        backend = "nccl" if target.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=size)
    world = World(rank=rank, size=size, device=target, store=store)
    if store is None:
        with telling_of_deaths():
            yield world
        return
    try:
        beat = Heartbeat(PrefixStore("heartbeat", store.clone()), rank, size)  # type: ignore[attr-defined]
        with beat, telling_of_deaths():
            yield world
    except RankLost as lost:
        if world._is_told(str(lost)):
            raise SystemExit(EX_UNAVAILABLE) from None
        raise
    finally:
        dist.destroy_process_group()


def _is_store_there() -> bool:
    """Whether somebody listens where the launcher says. Torch would ask too, and print a page of C++ frames."""
    try:
        with socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=PROBE):
            return True
    except OSError:
        return False


def _launcher_variables() -> tuple[int, int, int]:
    """(rank, number of ranks, rank on this machine) as torchrun sets them; a lone process when it set none."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = [os.environ.get(name) for name in names]
    if all(value is None for value in found):
        return 0, 1, 0
    missing = [name for name, value in zip(names, found, strict=True) if value is None]
    if missing:
        raise UserError(f"of {', '.join(names)} the launcher did not set {', '.join(missing)}: start with torchrun")
    rank, size, local_rank = (int(value) for value in found if value is not None)
    return rank, size, local_rank
