"""Batches by step: the plan looked up, documents fetched, encoded and packed.

    loader = Loader(plan, encoder, sources)
    loader.batch(step=17, rank=0, world_size=2)             # half of the step's global batch

A batch is a function of (plan, step, rank, world size) alone: there is no state to save, and any number of workers
gives the same bytes. What was dropped because its image can not be decoded (step_reader.py) is counted here, and held
against a limit. Knows nothing of models or process groups.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from mm1.config import UserError
from mm1.data.dealing import IN_TURN, Dealing
from mm1.data.encode import DocumentEncoder
from mm1.data.plan import Plan
from mm1.data.sources import Source
from mm1.data.step_reader import Outcome, StepReader, Tally
from mm1.types import Batch

ENOUGH_TO_JUDGE = 200
"""Documents read before the share of dropped ones is held against its limit."""


class Loader:
    """Batches of a plan.

    Args:
        plan: says what stands where.
        encoder: its tokenizer is the one that the sources' lengths were counted with.
        sources: the plan's sources by name.
        dealing: how a step comes to the ranks; by default rows in turn.

    Attributes:
        dropped: documents replaced so far because of an image, by `BadImage.reason`; of this process's batches.

    Raises:
        UserError: the encoder and the plan disagree on an image's tokens or pixels, on how pictures are cut, or on
            documents' beginnings.
    """

    def __init__(
        self,
        plan: Plan,
        encoder: DocumentEncoder,
        sources: Mapping[str, Source],
        dealing: Dealing = IN_TURN,
    ) -> None:
        if encoder.num_image_tokens != plan.num_image_tokens:
            raise UserError(
                f"the encoder gives an image {encoder.num_image_tokens} tokens where the plan was made for "
                f"{plan.num_image_tokens}: build both from the connector's number"
            )
        if encoder.image_size != plan.config.image_size:
            raise UserError(
                f"the encoder makes images of {encoder.image_size} pixels where the data config says "
                f"{plan.config.image_size}: build both from the image encoder's size"
            )
        if encoder.sub_images != plan.config.sub_images:
            raise UserError(
                f"the encoder cuts pictures into at most {encoder.sub_images.max_sub_images} sub-images by another "
                f"policy than the data config's ({plan.config.sub_images.max_sub_images}): build both from "
                "data.sub_images"
            )
        if (encoder.tokenizer.bos_id is not None) != plan.bos:
            raise UserError(
                f"the plan was made {'with' if plan.bos else 'without'} a BOS before each document, which is not what "
                f"{encoder.tokenizer.path} says: build both from one tokenizer"
            )
        self.plan = plan
        self._encoder = encoder
        self._sources = {name: sources[name] for name in plan.source_names}
        self._dealing = dealing
        self._tally = Tally()

    @property
    def dropped(self) -> Counter[str]:
        return self._tally.dropped

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """What is dealt to `rank` of `step`'s global batch: as many rows as to any other.

        Raises:
            UserError: the rows can not be dealt evenly; too many documents had to be dropped; a source's lengths were
                counted with another tokenizer.
        """
        return self._counted(self._reader(rank, world_size)[step])

    def batches(
        self,
        start: int,
        stop: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        *,
        read_ahead: int = 2,
        pin_memory: bool = False,
    ) -> Iterator[Batch]:
        """The batches of the steps [start, stop).

        Args:
            start: the first step.
            stop: one past the last.
            rank: whose share.
            world_size: among how many they are dealt.
            num_workers: processes that read ahead; with none a batch is read when it is asked for.
            read_ahead: batches that each of them has ready or in work.
            pin_memory: put batches where CUDA copies them while the host goes on; needs CUDA.
        """
        reader = self._reader(rank, world_size)
        steps = range(start, stop)
        if num_workers == 0:
            for step in steps:
                batch = self._counted(reader[step])
                yield batch.pin_memory() if pin_memory else batch
            return
        # Forking a process that has run torch or tokenizers threads may deadlock. A server process that has only
        # imported this module is forked instead, so that torch is imported once and not in every worker.
        workers = multiprocessing.get_context("forkserver")
        workers.set_forkserver_preload([__name__])
        outcomes = iter(
            DataLoader(
                reader,
                sampler=steps,
                batch_size=None,
                num_workers=num_workers,
                prefetch_factor=read_ahead,
                pin_memory=pin_memory,
                collate_fn=_as_it_is,
                worker_init_fn=_leave_interrupts_to_the_parent,
                multiprocessing_context=workers,
            )
        )
        try:
            while (outcome := _next(outcomes)) is not None:
                yield self._counted(outcome)
        finally:
            del outcomes  # ends the workers now: an error's traceback would keep them until some later collection

    def _reader(self, rank: int, world_size: int) -> StepReader:
        assert 0 <= rank < world_size
        rows = self.plan.config.rows
        if rows % world_size:
            raise UserError(
                f"a global batch of {rows} rows can not be dealt evenly to {world_size} processes: "
                "make data.rows a multiple of the number of processes"
            )
        return StepReader(self.plan, self._encoder, self._sources, self._dealing, rank, world_size)

    def _counted(self, outcome: Outcome) -> Batch:
        """The batch, after its dropped documents are counted and held against the limit."""
        if isinstance(outcome, UserError):
            raise outcome
        batch, tally, news = outcome
        self.plan.learn(news)
        total = self._tally
        total.read += tally.read
        total.dropped += tally.dropped
        dropped, limit = total.dropped.total(), self.plan.config.max_dropped_share
        if total.read >= ENOUGH_TO_JUDGE and dropped > limit * total.read:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in total.dropped.most_common())
            raise UserError(
                f"{dropped} of {total.read} documents had images that can not be decoded ({reasons}), more than the "
                f"{limit:.1%} that data.max_dropped_share allows: clean the sources, or raise it"
            )
        return batch


def _next(outcomes: Iterator[Outcome]) -> Outcome | None:
    """The next one, None after the last.

    Raises:
        UserError: a worker died. DataLoader says so where it waits for one; where it is about to fetch what a worker
            has announced, only a connection is refused or breaks. What a worker raises by itself is left as it is.
    """
    try:
        return next(outcomes, None)
    except (RuntimeError, EOFError, OSError) as error:
        words = str(error)
        raised_by_it = "Caught" in words and "DataLoader worker process" in words
        if raised_by_it or (isinstance(error, RuntimeError) and "DataLoader worker (pid" not in words):
            raise
        reason = words.splitlines()[0] if words else "its connection broke"
        raise UserError(
            f"a process that prepares batches died ({reason}), as when memory runs out: take fewer num_workers; the "
            "same command goes on from the last checkpoint"
        ) from error


def _as_it_is(outcome: Any) -> Any:
    return outcome


def _leave_interrupts_to_the_parent(worker: int) -> None:
    """A terminal's Ctrl-C goes to all processes; the one that trains still wants batches until its step is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
