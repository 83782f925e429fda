"""What two ranks do together, checked from inside; started twice by test_collectives.py with a launcher's variables.

python tests/distributed/ranks.py FOLDER        # exit code 0 when every check holds
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from mm1.distributed import checkpoint as checkpoint_module
from mm1.distributed import saver as saver_module
from mm1.distributed.checkpoint import CheckpointFailed, Keep, latest, load, save
from mm1.distributed.collectives import (
    any_rank,
    from_first_rank,
    gather_objects,
    gather_with_gradients,
    sum_,
    wait_for_all,
)
from mm1.distributed.mesh import World, joined
from mm1.distributed.saver import Saver
from mm1.train.adafactor import Adafactor
from mm1.train.muon import orthogonalise, orthogonalise_whole


@contextmanager
def first_doing(world: World, module: Any, name: str, what: Callable[[], None], rank: int = 0) -> Iterator[None]:
    """On one rank `what` comes before each call of `name`."""
    usual = getattr(module, name)

    def instead(*arguments: Any) -> Any:
        what()
        return usual(*arguments)

    if world.rank == rank:
        setattr(module, name, instead)
    yield
    setattr(module, name, usual)


def be_late() -> None:
    time.sleep(0.3)


def check_waiting(world: World, folder: Path) -> None:
    if world.is_first:
        be_late()
        (folder / "here").touch()
    wait_for_all()
    assert (folder / "here").exists()


def check_small_talk(world: World) -> None:
    assert sum_(torch.tensor([1.0, float(world.rank)])).tolist() == [2.0, 1.0]
    assert from_first_rank({"rank": world.rank}) == {"rank": 0}
    assert gather_objects(world.rank) == [0, 1]
    assert any_rank(world.rank == 1, world.device)
    assert not any_rank(False, world.device)


def check_gather(world: World, counts: tuple[int, int]) -> None:
    """The gradients of a sum over ranks are those of one process that has all rows."""
    generator = torch.Generator().manual_seed(0)
    everything = torch.randn(sum(counts), 3, generator=generator).requires_grad_()
    first = sum(counts[: world.rank])
    mine = everything.detach()[first : first + counts[world.rank]].clone().requires_grad_()
    gathered, start = gather_with_gradients(mine)
    assert start == first
    assert torch.equal(gathered, everything)
    (gathered @ gathered.T)[start : start + len(mine)].pow(2).sum().backward()
    (everything @ everything.T).pow(2).sum().backward()
    assert mine.grad is not None
    assert everything.grad is not None
    torch.testing.assert_close(mine.grad, everything.grad[first : first + len(mine)])
    # What sums a rank's gradient changes nobody else's: here autograd hands out one tensor twice.
    other = torch.zeros_like(everything).requires_grad_()
    (gather_with_gradients(mine)[0] + other).backward(torch.ones_like(everything))
    assert other.grad is not None
    assert (other.grad == 1).all()


def check_checkpoint(world: World, folder: Path) -> None:
    """Sharded, then resharded: saved by two ranks along rows, loaded by two along columns."""
    whole = torch.arange(15.0).reshape(5, 3)
    by_rows = distribute_tensor(whole, world.mesh(), [Shard(0)])
    save(folder, 4, {"matrix": by_rows, "scalar": torch.tensor(2.0)}, {"kept": True})
    found = latest(folder, print)
    assert found is not None
    assert found.values == {"kept": True}
    by_columns, scalar = distribute_tensor(torch.zeros(5, 3), world.mesh(), [Shard(1)]), torch.zeros(())
    load(found, {"matrix": by_columns, "scalar": scalar})
    assert torch.equal(by_columns.full_tensor(), whole)
    assert scalar == 2.0


def by_rows_of(world: World, rows: int = 64) -> dict[str, torch.Tensor]:
    return {"matrix": distribute_tensor(torch.ones(rows, 8), world.mesh(), [Shard(0)])}


def check_pace(world: World, folder: Path) -> None:
    """However late the first rank is: nobody writes before there is room, or returns before a checkpoint is there."""
    for step, name in enumerate(("_make_room", "_hashes", "_appear"), start=1):
        with first_doing(world, checkpoint_module, name, be_late):
            manifest = save(folder, step, by_rows_of(world), {}) / "manifest.json"
        assert manifest.exists(), name
        files = set(json.loads(manifest.read_text())["files"])
        assert files == {path.name for path in manifest.parent.iterdir()} - {"manifest.json"}


def check_refusal(world: World, folder: Path) -> None:
    """What one rank's file system refuses is told alike by all, and leaves no trace."""
    save(folder, 1, by_rows_of(world), {})

    def refuse() -> None:
        raise OSError(5, "Input/output error")

    def allow(most: int) -> None:
        if world.rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    def reason() -> str:
        try:
            save(folder, 2, by_rows_of(world), {})
        except CheckpointFailed as failed:
            return str(failed)
        return ""

    allow(100)
    assert gather_objects(reason()) == [f"{folder}: File too large"] * 2
    allow(resource.RLIM_INFINITY)
    for rank in (0, 1):
        with first_doing(world, checkpoint_module, "_sync", refuse, rank):
            assert gather_objects(reason()) == [f"{folder}: Input/output error"] * 2
        assert os.listdir(folder) == ["step-00000001"]
        wait_for_all()


def check_finding(world: World, folder: Path) -> None:
    """The first rank looks and speaks; the others take its word."""
    for step in (1, 2):
        save(folder, step, by_rows_of(world), {})
    if world.is_first:
        (folder / "step-00000002" / "manifest.json").unlink()
    said: list[str] = []
    with first_doing(world, checkpoint_module, "_verified", sys.exit, rank=1):
        found = latest(folder, said.append)
    assert found is not None
    assert found.step == 1
    assert len(said) == (1 if world.is_first else 0)


def check_beside(world: World, folder: Path) -> None:
    """A rank that is late in writing keeps nobody from training."""
    go = threading.Event()
    with (
        first_doing(world, saver_module, "save", lambda: go.wait(60) and None),
        Saver(folder, Keep()) as saver,
    ):
        saver.begin(1, by_rows_of(world), {})
        for size in range(1, 20):
            assert (sum_(torch.ones(size)) == 2).all()
        go.set()
        assert saver.wait()
    assert latest(folder, print) is not None


def check_muon(world: World) -> None:
    """An update is the same to the bit, however it is sharded."""
    matrices = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(1))
    shards = [distribute_tensor(matrix, world.mesh(), [Shard(side)]) for side, matrix in enumerate(matrices)]
    results = orthogonalise_whole(shards, torch.bfloat16)
    for result, whole in zip(results, orthogonalise(matrices.unbind(), torch.bfloat16), strict=True):
        assert isinstance(result, DTensor)
        assert torch.equal(result.full_tensor(), whole.float())


def check_adafactor(world: World) -> None:
    """Three steps are the same to the bit, whatever dimension is sharded, and even where a rank has nothing."""
    for shape, dim in (
        ((7, 5), 0),
        ((7, 5), 1),
        ((3, 4, 6), 0),
        ((3, 5, 6), 1),
        ((3, 4, 7), 2),
        ((1, 6), 0),
        ((5,), 0),
    ):
        generator = torch.Generator().manual_seed(1)
        whole = torch.nn.Parameter(torch.randn(shape, generator=generator))
        sharded = torch.nn.Parameter(distribute_tensor(whole.detach().clone(), world.mesh(), [Shard(dim)]))
        optimizers = [Adafactor([part], factor_from=1, scale_by_size=True) for part in (whole, sharded)]
        for _ in range(3):
            whole.grad = torch.randn(shape, generator=generator)
            sharded.grad = distribute_tensor(whole.grad.clone(), world.mesh(), [Shard(dim)])
            for optimizer in optimizers:
                optimizer.step()
        assert torch.equal(sharded.full_tensor(), whole), (shape, dim)
        for name, value in optimizers[0].state[whole].items():
            other = optimizers[1].state[sharded][name]
            assert other.shape == value.shape, (name, shape, dim)
            assert torch.equal(other.full_tensor() if isinstance(other, DTensor) else other, value), (name, shape, dim)


if __name__ == "__main__":
    with joined("cpu") as me:
        check_small_talk(me)
        for sizes in ((2, 3), (0, 4), (3, 0)):
            check_gather(me, sizes)
        own = Path(sys.argv[1])
        check_waiting(me, own)
        check_checkpoint(me, own / "resharded")
        check_pace(me, own / "pace")
        check_refusal(me, own / "refusal")
        check_finding(me, own / "finding")
        check_beside(me, own / "beside")
        check_muon(me)
        check_adafactor(me)
