"""What training changes, in one place: everything a checkpoint has to hold so that going on is exact.

    state = TrainState(model, optimizers)
    state.tally.add(losses, batch)         # on the device: nothing waits
    state.tally.read()                     # summed over the ranks, on the host: at log steps only

Randomness is no part of it: weights are drawn once, from the seed, and nothing in a step is random.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mm1.distributed.collectives import gather_objects, sum_
from mm1.train.ema import Average
from mm1.train.optimizer import Optimizers
from mm1.types import Batch, Losses

Totals: TypeAlias = dict[str, float]
"""Sums since the first step, over all ranks: those of `COUNTED`, and, over the microbatches whose losses and extra
values were finite: "microbatches" (their number), "loss" (without auxiliary terms), "targets", "loss/SOURCE",
"targets/SOURCE", "extra/NAME"."""
COUNTED = ("tokens", "positions", "images", "attended_pairs", "logits", "data_pauses")
"""What the host counts: positions that are not padding; all that are computed; images; pairs of a position with itself
or an earlier one of its document; positions with a target; seconds of ranks in long waits for data."""


class Tally:
    """Cumulative sums of this rank: on the device what comes from the device, on the host what the host knows."""

    def __init__(self, before: Totals | None = None) -> None:
        """`before` is what `read` gave when a checkpoint was made, to go on from."""
        self._before = before or {}
        self._host = torch.zeros(len(COUNTED), dtype=torch.float64)
        self._device: Tensor | None = None
        self._names: list[str] = []

    def add(self, losses: Losses, batch: Batch) -> None:
        """Counts a microbatch; `batch` is the host's copy, so that counting its tokens waits for nothing.

        One whose losses are not finite counts as read but has no part in the losses: sums are cumulative, and a single
        NaN would stay in them for the rest of the run.
        """
        real = batch.segment_ids >= 0
        # Positions count from 0 in every segment, so each has one more than its own number to attend to.
        pairs = torch.where(real, batch.positions + 1, 0).sum()
        counted = (int(real.sum()), real.numel(), batch.num_images, int(pairs), batch.target_index.numel(), 0)
        self._host += torch.tensor(counted, dtype=torch.float64)
        one, loss = torch.ones_like(losses.count), losses.source_totals.sum()
        scalars = torch.stack([one, loss, losses.count, *losses.extra.values()])
        row = torch.cat([scalars, losses.source_totals, losses.source_counts]).double()
        row = torch.where(row.isfinite().all() & losses.total.detach().isfinite(), row, 0.0)
        names = ["microbatches", "loss", "targets", *(f"extra/{name}" for name in losses.extra)]
        names += [f"{kind}/{source}" for kind in ("loss", "targets") for source in batch.source_names]
        assert self._names in ([], names), "the sources or the objective's extra values changed during training"
        self._names, self._device = names, row if self._device is None else self._device + row

    def add_pause(self, seconds: float) -> None:
        """Counts a long wait of this rank for data."""
        self._host[COUNTED.index("data_pauses")] += seconds

    def read(self) -> Totals:
        """The totals over all ranks and earlier parts of an interrupted run. The host waits for the device."""
        if self._device is None:
            return dict(self._before)
        values = sum_(torch.cat([self._host.to(self._device.device), self._device])).tolist()
        names = [*COUNTED, *self._names]
        return {name: self._before.get(name, 0.0) + value for name, value in zip(names, values, strict=True)}


class Clock:
    """Seconds by kind of work, cumulative over the interruptions of a run."""

    def __init__(self, seconds: Mapping[str, float] | None = None, before: float = 0.0) -> None:
        self.seconds = dict(seconds or dict.fromkeys(("data", "compute", "optimizer", "checkpoint"), 0.0))
        self._before = before
        self._began: float | None = None

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Adds the time spent inside to `kind`."""
        began = time.perf_counter()
        if self._began is None:
            self._began = began
        try:
            yield
        finally:
            self.seconds[kind] += time.perf_counter() - began

    def total(self) -> float:
        """Seconds since the first step began, without what interruptions lost, starts included."""
        return self._before + (0.0 if self._began is None else time.perf_counter() - self._began)


class TrainState:
    """Model, optimizers, average of the weights, step, and what was counted on the way."""

    def __init__(self, model: nn.Module, optimizers: Optimizers, average: Average | None = None) -> None:
        self.model = model
        self.optimizers = optimizers
        self.average = average
        self.step = 0
        """Steps done."""
        self.skipped = torch.zeros((), device=optimizers.parameters[0].device)
        """Steps whose gradients were not finite and that changed nothing; the same on every rank."""
        self.tally = Tally()
        self.logged: Totals = {}
        """The totals at the last line of the log."""
        self.clock = Clock()
        self.count_dropped: Callable[[], Mapping[str, int]] = dict
        """What this rank's loader has dropped so far, by reason; set by whoever makes the loader."""
        self._dropped_before: Mapping[str, int] = {}

    def dropped(self) -> dict[str, int]:
        """Documents dropped by reason, over all ranks and earlier parts of an interrupted run; a collective."""
        total = Counter(self._dropped_before)
        for counts in gather_objects(dict(self.count_dropped())):
            total.update(counts)
        return dict(total)

    def values(self) -> dict[str, Any]:
        """What a checkpoint holds as plain JSON; a collective when there are many ranks."""
        return {
            "totals": self.tally.read(),
            "dropped": self.dropped(),
            "logged": self.logged,
            "skipped": float(self.skipped),
            "time": self.clock.seconds,
            "seconds": self.clock.total(),
        }

    def restore(self, step: int, values: Mapping[str, Any]) -> None:
        """Goes on from the `values` of a checkpoint; its tensors are filled in place by whoever loads it."""
        self.step = step
        self.tally, self.logged = Tally(values["totals"]), values["logged"]
        self.skipped.fill_(values["skipped"])
        self._dropped_before = values["dropped"]
        self.clock = Clock(values["time"], values["seconds"])

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds as tensors; aliases, to be filled in place."""
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizers.tensors(),
            "average": {} if self.average is None else self.average.tensors,
        }
        return {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}

    def outcome(self) -> dict[str, Tensor]:
        """The weights that the stage is for, by the model's names: the last ones, or their average; sharded."""
        last: dict[str, Tensor] = self.model.state_dict()
        return last if self.average is None else self.average.instead_of(last)
