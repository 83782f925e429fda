"""A training stage, from its config to its weights; started again after an interruption, it goes on by itself.

    run_stage(StageConfig(...), folder, sources, tokenizer, init_weights={"image_encoder": clip_weights})

    folder/  config.json  metrics.jsonl  checkpoints/  →  model.safetensors  stage.json

On the CPU training is deterministic: the same config, data, and number of ranks and threads on the same machine give
the same weights to the bit, interrupted or not; on CUDA cuBLAS makes no such promise. Knows nothing of recipes, nor
where sources and initial weights come from.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mm1.config import UserError
from mm1.data.dealing import Dealing
from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import PLAN, build_plan
from mm1.data.sources import Source
from mm1.data.tokenizer import Tokenizer
from mm1.distributed.checkpoint import Keep
from mm1.distributed.collectives import any_rank
from mm1.distributed.mesh import CPU, World, joined
from mm1.distributed.saver import Saver
from mm1.train.checkpoints import Checkpoints, Interrupted, StopSignal, resume
from mm1.train.costs import document_cost
from mm1.train.ema import Average
from mm1.train.hooks import MetricsLog, PlanFile, truncate_log
from mm1.train.identity import claim
from mm1.train.initial import initial_model
from mm1.train.loop import Hook, LoopConfig, train
from mm1.train.memory import PeakMemory, memory_lines
from mm1.train.objectives import build_objective
from mm1.train.optimizer import Optimizers
from mm1.train.outcome import finish, finished, mixture_lines
from mm1.train.parallelize import announce, autocast, reporting_traffic, resolve_precision
from mm1.train.pauses import Pauses
from mm1.train.progress import Display, Say, display
from mm1.train.speed import Speed, speed_of
from mm1.train.stage import StageConfig
from mm1.train.state import TrainState
from mm1.train.tolerance import heedless_of_full_disks
from mm1.train.tracking import Track, Tracker, tracking
from mm1.train.tracking import check as check_tracker
from mm1.types import Batch

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What is the same from the beginning of a stage's run to its end."""

    config: StageConfig
    folder: Path
    world: World
    name: str
    say: Say
    """Prints a line on the first rank, nothing on others."""


def run_stage(
    config: StageConfig,
    folder: Path,
    sources: Mapping[str, Source],
    tokenizer: Tokenizer,
    init_weights: Mapping[str, Path] | None = None,
    *,
    name: str = "train",
    say: Say = print,
    hooks: Sequence[Hook] = (),
    device: str | None = None,
    track: Tracker | None = None,
) -> dict[str, Any]:
    """Trains `config` in `folder`, or goes on with it, and returns what stage.json then holds.

    Args:
        config: the stage.
        folder: filled by rank 0; must exist, on storage that all ranks see.
        sources: every source of the mixture, by name.
        tokenizer: whose vocabulary the model has.
        init_weights: safetensors files by name prefix, one for each entry of `config.init`.
        name: what the display calls the stage.
        say: prints a line.
        hooks: called after the log and before the checkpoint.
        device: "cpu" or "cuda"; CUDA where there is one when None.
        track: where the log's numbers also go, while training goes on.

    Raises:
        UserError: parts of the config that do not fit each other, the ranks, or what the folder was begun with; or
            a process that prepares batches died; or what `track` needs is missing.
        RankLost: another rank ended.
        Interrupted: SIGTERM or SIGINT came after a step; a checkpoint was saved, or in the end all that the stage
            leaves, and the same call goes on from it. Before there is anything to save they have their usual effect.
    """
    init_weights = init_weights or {}
    check_tracker(track)
    config.check_parts(tokenizer.vocab_size)
    if set(init_weights) != set(config.init):
        raise UserError(f"init names {sorted(config.init)}, but weights were given for {sorted(init_weights)}")
    with (
        joined(device) as world,
        deterministic(world.device),
        StopSignal().listening() as stop,
    ):
        config.check_layout(world.size)
        config.rows_at_once(world.size)
        own_say = heedless_of_full_disks(say) if world.is_first else _say_nothing
        run = _Run(config=config, folder=folder, world=world, name=name, say=own_say)
        claim(config, folder, world, own_say)
        if (account := finished(folder)) is not None:
            return account
        state, loader = _begin(run, sources, tokenizer, init_weights)
        _train(run, state, loader, stop, track, hooks)
        account = finish(config, state, loader, tokenizer.path, folder, world)
        for line in mixture_lines(account):
            own_say(line)
        if any_rank(stop.is_set, world.device):
            raise Interrupted(state.step)
        return account


def _begin(
    run: _Run, sources: Mapping[str, Source], tokenizer: Tokenizer, init_weights: Mapping[str, Path]
) -> tuple[TrainState, Loader]:
    """What is trained and on what, as the folder's newest checkpoint left both."""
    state = initial_state(run.config, init_weights, run.world)
    resume(state, run.folder / CHECKPOINTS, run.say)
    loader = build_loader(run.config, sources, tokenizer)
    if state.step and (run.folder / PLAN).exists():
        loader.plan.restore(run.folder)
    state.count_dropped = lambda: loader.dropped
    return state, loader


def _train(
    run: _Run, state: TrainState, loader: Loader, stop: StopSignal, track: Tracker | None, hooks: Sequence[Hook]
) -> None:
    """All steps that are left."""
    config, folder, world = run.config, run.folder, run.world
    speed = speed_of(config, state.model, world)
    _introduce(config, state, speed, run.say)
    with (
        display(run.name, config.steps, run.say, shown=world.is_first) as shown,
        _saver(config, folder, world) as saver,
        tracking(track, folder, run.name, config, state.step, leads=world.is_first, say=run.say) as tracked,
    ):
        # From the first step on there is something to save, and the checkpoint comes last, when all that belongs to
        # its step is written.
        own_hooks: list[Hook] = [
            stop,
            Pauses(state.clock.seconds["data"], run.say),
            PeakMemory(world.device, run.say),
            _log(run, state.step, shown, speed, tracked),
            *hooks,
            PlanFile(folder if world.is_first else None, loader.plan, every=config.checkpoint_every, say=run.say),
            _checkpoints(run, saver, stop),
        ]
        objective = build_objective(config.objective, config.loss)
        objective = reporting_traffic(objective, state.model, config.parallel, config.microbatches(world.size))
        batches = _batches(config, loader, state.step, world)
        train(state, objective, batches, loop_config(config, world), own_hooks)


def initial_state(config: StageConfig, init_weights: Mapping[str, Path], world: World) -> TrainState:
    """Model, initial weights, optimizers: the same on every rank."""
    model = initial_model(config, init_weights, world)
    bf16 = resolve_precision(config.precision, world.device) == "bf16"
    optimizers = Optimizers(model, config.optimizer, torch.bfloat16 if bf16 else torch.float32)
    return TrainState(model, optimizers, None if config.ema is None else Average(model, config.ema))


def build_loader(config: StageConfig, sources: Mapping[str, Source], tokenizer: Tokenizer) -> Loader:
    """The loader of a stage's batches."""
    data, num_image_tokens = config.data, config.model.num_image_tokens
    pairs, bos = config.objective == "contrastive", tokenizer.bos_id is not None
    plan = build_plan(data, sources, num_image_tokens, pairs, bos)
    encoder = DocumentEncoder(tokenizer, num_image_tokens, data.image_size, data.sub_images)
    cost = document_cost(config)
    dealing = Dealing(cost=cost, microbatch_rows=config.microbatch_rows, by_document=config.drops_padding)
    return Loader(plan, encoder, sources, dealing)


def _batches(config: StageConfig, loader: Loader, step: int, world: World) -> Iterator[Batch]:
    """This rank's, from `step` on."""
    pin = world.device.type == "cuda"
    return loader.batches(step, config.steps, world.rank, world.size, config.num_workers, pin_memory=pin)


def loop_config(config: StageConfig, world: World) -> LoopConfig:
    """What the loop has to know of a stage."""
    precision = resolve_precision(config.precision, world.device)
    return LoopConfig(
        steps=config.steps,
        learning_rate=config.optimizer.learning_rate,
        factor=functools.partial(config.schedule.factor, steps=config.steps),
        microbatches=config.microbatches(world.size),
        trim=config.drops_padding,
        max_grad_norm=config.max_grad_norm,
        device=world.device,
        autocast=functools.partial(autocast, precision, world.device),
        announce=functools.partial(announce, config.parallel),
    )


def _introduce(config: StageConfig, state: TrainState, speed: Speed, say: Say) -> None:
    """What is known before the first step, and why that one takes long."""
    for line in memory_lines(state):
        say(line)
    if speed.why:
        say(speed.why)
    if config.parallel.compile:
        say("the first step takes a minute or more, because blocks are compiled")


def _log(run: _Run, step: int, shown: Display, speed: Speed, track: Track) -> MetricsLog:
    """The log, going on from `step`."""
    path = run.folder / METRICS if run.world.is_first else None
    if path is not None:
        truncate_log(path, step)
    return MetricsLog(
        path,
        every=run.config.log_every,
        display=shown,
        max_skipped=run.config.max_skipped_steps,
        speed=speed,
        track=track,
        say=run.say,
    )


def _saver(config: StageConfig, folder: Path, world: World) -> Saver:
    keep = Keep(last=config.checkpoints_kept, every=config.checkpoints_kept_every)
    return Saver(folder / CHECKPOINTS, keep, pinned=world.device.type == "cuda")


def _checkpoints(run: _Run, saver: Saver, stop: StopSignal) -> Checkpoints:
    every, agree_every = run.config.checkpoint_every, run.config.log_every
    return Checkpoints(saver, every=every, agree_every=agree_every, stop=stop, device=run.world.device, say=run.say)


@contextmanager
def deterministic(device: torch.device = CPU) -> Iterator[None]:
    """On the CPU: only deterministic kernels, and no time spent on filling memory that is about to be written."""
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = fills


def _say_nothing(line: str) -> None:
    """For the ranks that are not the first."""
