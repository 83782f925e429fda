"""What four ranks do under several layouts, compared from inside with one process; started by test_layouts.py.

python tests/train/layouts.py FOLDER        # writes FOLDER/differences.json; exit code 0 when nothing failed

Every rank computes the reference alone: the plain model on every rank's microbatch, one after another.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.distributed.checkpoint import latest, load, save
from mm1.distributed.collectives import sum_, wait_for_all
from mm1.distributed.mesh import World, joined
from mm1.models.mm1 import MM1
from mm1.models.moe import MoEConfig
from mm1.models.weights import save_weights
from mm1.train import parallelize as parallelize_module
from mm1.train.blocks import compile_blocks
from mm1.train.initial import initial_model
from mm1.train.layout import ParallelConfig
from mm1.train.loop import normalise_gradients
from mm1.train.objectives import next_token
from mm1.train.optimizer import Optimizers
from mm1.train.parallelize import announce, autocast, parallelize, reporting_traffic
from mm1.train.run import deterministic
from mm1.train.state import TrainState
from mm1.types import IGNORE, Batch

RANKS = 4
EXPERTS = 8
MICROBATCHES = 3
DROPLESS = MoEConfig(num_experts=EXPERTS, top_k=2)
CAPACITY = DROPLESS.replace(capacity_factor=0.6)
HSDP = ParallelConfig(replicate=2)
DEALT = ParallelConfig(experts=4)
MIXED = ParallelConfig(replicate=2, experts=2)
CUT = ParallelConfig(experts=2)


def _tiny() -> Any:
    specification = importlib.util.spec_from_file_location("tiny_stage", Path(__file__).with_name("tiny.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["tiny_stage"] = module
    specification.loader.exec_module(module)
    return module


tiny = _tiny()


def build(moe: MoEConfig | None, mlp: str = "swiglu") -> MM1:
    """The tiny model with these experts."""
    decoder = tiny.DECODER.replace(moe=moe, mlp=mlp)
    model = tiny.stage(model="mm1").replace(model=tiny.MODELS["mm1"].replace(decoder=decoder)).build()
    assert isinstance(model, MM1)
    return model


def without_tokens(batch: Batch) -> Batch:
    """The same rows with nothing but padding in them."""
    return replace(
        batch,
        segment_ids=torch.full_like(batch.segment_ids, -1),
        positions=torch.zeros_like(batch.positions),
        image_index=torch.full_like(batch.image_index, -1),
        targets=torch.full_like(batch.targets, IGNORE),
        target_index=batch.target_index[:0],
        source_ids=torch.full_like(batch.source_ids, -1),
        images=batch.images[:0],
        image_rows=batch.image_rows[:0],
        image_segments=batch.image_segments[:0],
        image_seeds=batch.image_seeds[:0],
    )


def shun_half(model: nn.Module) -> None:
    """Routers under which experts 4 to 7, which live on two ranks of four, are never chosen."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("router.weight"):
                direction = weight[0].clone()
                weight.zero_()
                for expert, factor in enumerate((1.0, 0.5, -1.0, -0.5)):
                    weight[expert] = factor * direction


def reference(model: nn.Module, batches: Sequence[Batch]) -> tuple[float, Tensor, dict[str, Tensor], dict[str, float]]:
    """Summed loss, number of targets, summed gradients and mean extra values of one process."""
    total, count, extras = 0.0, torch.zeros(()), []
    for batch in batches:
        losses = next_token(model, batch)
        losses.total.backward()
        total, count = total + float(losses.total.detach()), count + losses.count
        extras.append({name: float(value) for name, value in losses.extra.items()})
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    extra = {name: sum(values[name] for values in extras) / len(extras) for name in extras[0]}
    return total, count, gradients, extra


def compare(
    world: World,
    layout: ParallelConfig,
    batches: Sequence[Batch],
    moe: MoEConfig | None,
    prepare: Callable[[nn.Module], None] = lambda model: None,
    mlp: str = "swiglu",
) -> dict[str, Any]:
    """Largest differences between `layout` and one process: of loss and gradients over targets, of extra values."""
    plain, model = build(moe, mlp), build(moe, mlp)
    prepare(plain)
    prepare(model)
    expected, count, gradients, extra = reference(plain, batches)
    parallelize(model, layout, world)
    objective = reporting_traffic(next_token, model, layout, microbatches=1)
    losses = objective(model, batches[world.rank])
    losses.total.backward()
    loss = float(sum_(losses.total.detach().clone()))
    own = {name: float(sum_(value.clone())) / world.size for name, value in losses.extra.items()}
    sent = own.pop("all_to_all_bytes", 0.0)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == gradients.keys()
    apart = max(
        float((whole(parameters[name].grad) - gradient).abs().max() / count) for name, gradient in gradients.items()
    )
    norm = torch.nn.utils.get_total_norm(list(gradients.values())) / count
    found = normalise_gradients(list(parameters.values()), count, 1e9)
    return {
        "loss": abs(loss - expected) / float(count),
        "gradients": apart,
        "extra": max((abs(own[name] - value) for name, value in extra.items()), default=0.0),
        "norm": abs(float(found / norm) - 1),
        "size": max(float(gradient.abs().max() / count) for gradient in gradients.values()),
        "dropped": extra.get("dropped", 0.0),
        "bytes": sent,
    }


def compare_gathered_in_bf16(world: World, batches: Sequence[Batch]) -> dict[str, Any]:
    """As on CUDA: blocks gathered in bfloat16 under autocast, against weights in float32 under autocast.

    A text model: on the CPU, unlike CUDA, autocast leaves a layer norm of mixed dtypes alone, which then fails.
    """
    config = tiny.MODELS["mm1"].replace(image_encoder=None, connector=None)
    config = config.replace(decoder=tiny.DECODER.replace(moe=DROPLESS, mlp="swiglu", num_layers=3))
    plain, model = (tiny.stage().replace(model=config).build() for _ in range(2))
    texts = [without_images(batch) for batch in batches]
    with autocast("bf16", world.device):
        expected, count, gradients, _ = reference(plain, texts)
        with mock.patch.object(parallelize_module, "gather_dtype", return_value=torch.bfloat16):
            parallelize(model, MIXED, world, "bf16")
        losses = next_token(model, texts[world.rank])
        losses.total.backward()
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
    loss = float(sum_(losses.total.detach().clone()))
    apart = {name: whole(parameter.grad) - gradients[name] for name, parameter in model.named_parameters()}
    # A token between two experts may be sent to the other one by rounding, which the router's gradient alone shows.
    relative = {
        name: float(difference.norm() / gradients[name].norm())
        for name, difference in apart.items()
        if ".router." not in name
    }
    return {"loss": abs(loss - expected) / float(count), "gradients": max(relative.values())}


class Collectives(TorchDispatchMode):
    """How often each is called."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in ("c10d", "_c10d_functional"):
            self.counts[func._schema.name.rpartition("::")[2]] += 1
        return func(*args, **(kwargs or {}))


def compare_accumulated(world: World, layout: ParallelConfig, batches: Sequence[Batch]) -> dict[str, Any]:
    """As `compare`, of a step of three microbatches, each rank's in another order; and how often the ranks talked."""
    plain, model = build(DROPLESS), build(DROPLESS)
    expected, count, gradients, _ = reference(plain, batches)
    parallelize(model, layout, world)
    total = torch.zeros(())
    with Collectives() as talk:
        for turn in range(MICROBATCHES):
            announce(layout, model, is_last=turn == MICROBATCHES - 1)
            losses = next_token(model, batches[(world.rank + turn) % RANKS])
            losses.total.backward()
            total += losses.total.detach()
    targets, parameters = MICROBATCHES * count, dict(model.named_parameters())
    apart = {name: whole(parameters[name].grad) / MICROBATCHES - gradient for name, gradient in gradients.items()}
    sharded = all(isinstance(parameter, DTensor) for parameter in parameters.values())
    return {
        "loss": abs(float(sum_(total)) / float(targets) - expected / float(count)),
        "gradients": max(float(difference.abs().max() / count) for difference in apart.values()),
        "collectives": talk.counts,
        "sharded": sharded,
    }


def compare_compiled(world: World, batches: Sequence[Batch]) -> dict[str, Any]:
    """Compiled, with gathering and exchanges in the midst of blocks; traced, that is, and run as it was traced."""
    traced = functools.partial(compile_blocks, backend="eager")
    with mock.patch.object(parallelize_module, "compile_blocks", traced):
        return compare(world, MIXED.replace(compile=True, activation_checkpointing="full"), batches, DROPLESS)


def without_images(batch: Batch) -> Batch:
    """The same rows, of which a text model sees the placeholders only."""
    return replace(batch, images=batch.images[:0], image_index=torch.full_like(batch.image_index, -1))


def whole(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def state_of(world: World, layout: ParallelConfig, factor: float = 1.0) -> TrainState:
    """A state under `layout`, all of whose tensors are those of a seed times `factor`."""
    model = build(DROPLESS)
    parallelize(model, layout, world)
    state = TrainState(model, Optimizers(model, tiny.stage().optimizer, torch.float32))
    with torch.no_grad():
        for index, tensor in enumerate(state.tensors().values()):
            tensor.copy_(tensor * factor + index * factor)
    return state


def check_checkpoints(world: World, folder: Path) -> dict[str, bool]:
    """What was saved under one layout is what is loaded under another."""
    equal = {}
    for name, (before, after) in {
        "experts dealt to gathered": (MIXED, ParallelConfig()),
        "gathered to experts dealt": (ParallelConfig(), CUT),
        "dealt over 4 to over 2": (DEALT, MIXED),
    }.items():
        saved, place = state_of(world, before), folder / name.replace(" ", "-")
        save(place, 1, saved.tensors(), {})
        found = latest(place, print)
        assert found is not None
        state = state_of(world, after, factor=0.0)
        load(found, state.tensors())
        expected, loaded = saved.tensors(), state.tensors()
        same = [torch.equal(whole(loaded[key]), whole(value)) for key, value in expected.items()]
        equal[name] = all(same) and expected.keys() == loaded.keys()
    return equal


def check_beginnings(world: World, folder: Path) -> dict[str, bool]:
    """Whether a rank begins with its part of what one process begins with, to the bit: drawn, and read from a file."""
    equal = {}
    for name, layout in {"sharded": ParallelConfig(), "hsdp": HSDP, "dealt": DEALT, "mixed": MIXED, "cut": CUT}.items():
        config = tiny.stage("moe", parallel=layout, seed=3)
        moe = tiny.MODELS["moe"].replace(decoder=tiny.DECODER.replace(moe=DROPLESS))
        config = config.replace(model=moe)
        plain, path = config.build(), folder / "read.safetensors"
        if world.is_first:
            save_weights(config.replace(seed=4).build(), path)
        wait_for_all()
        given = {"decoder": path}
        drawn, read = (
            initial_model(config, {}, world),
            initial_model(config.replace(init={"decoder": "x"}), given, world),
        )
        other = config.replace(seed=4).build()
        expected = {**plain.state_dict(), **{k: v for k, v in other.state_dict().items() if k.startswith("decoder.")}}
        equal[f"{name}, drawn"] = _same(drawn, plain.state_dict())
        equal[f"{name}, read"] = _same(read, expected)
        equal[f"{name}, in parts"] = any(
            parameter.to_local().numel() < parameter.numel()
            for parameter in drawn.parameters()
            if isinstance(parameter, DTensor)
        )
        wait_for_all()
    return equal


def _same(model: nn.Module, expected: Mapping[str, Tensor]) -> bool:
    own = {name: whole(parameter) for name, parameter in model.named_parameters()}
    return own.keys() == expected.keys() and all(torch.equal(own[name], value) for name, value in expected.items())


def main(folder: Path) -> None:
    with joined("cpu") as world, deterministic():
        config = tiny.stage(rows=RANKS)
        tokenizer, sources = tiny.world_of(folder)
        loader = Loader(build_plan(config.data, sources, 4), DocumentEncoder(tokenizer, 4, 16), sources)
        batches = [loader.batch(1, rank, RANKS) for rank in range(RANKS)]
        images = [batch.num_images for batch in batches]
        idle = [without_tokens(batches[0]), *batches[1:]]
        full, selective = (MIXED.replace(activation_checkpointing=mode) for mode in ("full", "selective"))
        results = {
            "sharded": compare(world, ParallelConfig(), batches, None),
            "hsdp": compare(world, HSDP, batches, None),
            "hsdp, experts gathered": compare(world, HSDP, batches, DROPLESS),
            "experts over 4": compare(world, DEALT, batches, DROPLESS),
            "experts over 2, cut by 2": compare(world, CUT, batches, DROPLESS),
            "experts over 2, 2 copies": compare(world, MIXED, batches, DROPLESS),
            "capacity": compare(world, MIXED, batches, CAPACITY),
            "gelu": compare(world, CUT, batches, DROPLESS, mlp="gelu"),
            "loop": compare(world, DEALT, batches, DROPLESS.replace(backend="loop")),
            "a rank without tokens": compare(world, DEALT, idle, CAPACITY),
            "ranks whose experts nobody wants": compare(world, DEALT, batches, DROPLESS, prepare=shun_half),
            "full": compare(world, full, batches, DROPLESS),
            "selective": compare(world, selective, batches, DROPLESS),
            "kept gathered": compare(world, MIXED.replace(reshard_after_forward=False), batches, DROPLESS),
            "compiled": compare_compiled(world, batches),
            "bf16": compare_gathered_in_bf16(world, batches),
        }
        accumulated = {
            f"{name}, {gradients}, {'resharded' if reshards else 'kept'}": compare_accumulated(
                world, layout.replace(reduce_gradients=gradients, reshard_after_forward=reshards), batches
            )
            for name, layout in {"sharded": ParallelConfig(), "hsdp": HSDP, "experts": MIXED}.items()
            for gradients in ("each", "last")
            for reshards in (True, False)
        }
        checkpoints = check_checkpoints(world, folder)
        beginnings = check_beginnings(world, folder)
        if world.is_first:
            account = {
                "results": results,
                "accumulated": accumulated,
                "checkpoints": checkpoints,
                "beginnings": beginnings,
                "images": images,
            }
            (folder / "differences.json").write_text(json.dumps(account))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
