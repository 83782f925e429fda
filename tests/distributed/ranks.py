"""What two ranks do together, checked from inside; started twice by test_collectives.py with a launcher's variables.

python tests/distributed/ranks.py FOLDER        # exit code 0 when every check holds
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from mm1.distributed.checkpoint import latest, load, save
from mm1.distributed.collectives import any_rank, from_first_rank, gather_objects, gather_with_gradients, sum_
from mm1.distributed.mesh import World, joined
from mm1.train.adafactor import Adafactor
from mm1.train.muon import orthogonalise, orthogonalise_whole


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
        check_checkpoint(me, Path(sys.argv[1]))
        check_muon(me)
        check_adafactor(me)
