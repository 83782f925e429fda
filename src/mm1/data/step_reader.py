"""A rank's batch of a step, read: the step's places looked up, their documents fetched, encoded and packed.

    StepReader(plan, encoder, sources, dealing, rank=0, world_size=2)[17]       # a batch and what was dropped for it

Runs in loader workers, which have a copy of the plan each. An image that can not be decoded costs its unit, which the
next good document of the same source replaces, at every reading the same. Knows nothing of how many workers there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from torch.utils.data import Dataset

from mm1.config import UserError
from mm1.data.collate import collate
from mm1.data.dealing import Dealing, Place
from mm1.data.encode import DocumentEncoder
from mm1.data.image import BadImage
from mm1.data.order import key_of
from mm1.data.plan import News, Plan, Row, Unit
from mm1.data.sources import Source
from mm1.types import Batch, Sample

MAX_REPLACEMENTS = 100
"""Documents tried in place of a bad one before the run stops."""


@dataclass(slots=True)
class Tally:
    """Documents read, and those among them that were dropped, by reason."""

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


Outcome: TypeAlias = "tuple[Batch, Tally, News] | UserError"
"""Of a step; with what was counted of the plan for it."""


class StepReader(Dataset[Outcome]):
    """A rank's batches by step. A user's error comes back as a value: raised in a worker, it would be a traceback."""

    def __init__(
        self,
        plan: Plan,
        encoder: DocumentEncoder,
        sources: Mapping[str, Source],
        dealing: Dealing,
        rank: int,
        world_size: int,
    ) -> None:
        self._plan = plan
        self._encoder = encoder
        self._sources = sources
        self._dealing = dealing
        self._rank = rank
        self._world_size = world_size

    def __getitem__(self, step: int) -> Outcome:
        tally, config = Tally(), self._plan.config
        try:
            rows = self._plan.rows(step)
            own = self._dealing.places(rows, self._world_size, self._plan.budget)[self._rank]
            placed = [self._placed(rows, places, step, tally) for places in own]
        except UserError as error:
            return error
        length = config.seq_len * (len(rows) // self._world_size // len(own))
        batch = collate(placed, length, self._encoder, self._plan.source_names)
        return batch, tally, self._plan.news()

    def _placed(self, rows: Sequence[Row], places: Sequence[Place], step: int, tally: Tally) -> list[Sample]:
        """The samples at `places`, each with a key that hangs on its place in the step: the same whoever reads it."""
        samples = []
        for row, number in places:
            sample = self._sample(rows[row][number], tally)
            if sample is not None:
                samples.append(replace(sample, key=key_of(self._plan.config.seed, "images", step, row, number)))
        return samples

    def _sample(self, unit: Unit, tally: Tally) -> Sample | None:
        """The unit's Sample, or that of the document that takes its place.

        None, and the place stays empty, where pictures that are cut by their size leave no document that fits it.
        """
        sample = self._attempt(unit, self._plan.config.seq_len, tally)
        if sample is not None:
            return sample
        # A replacement must fit the room that the unit had in its pack.
        room = replace(self._plan.budget, capacity=len(unit), max_images=unit.num_images)
        source = self._sources[unit.source]
        candidates = range(1, min(MAX_REPLACEMENTS, len(source) - 1) + 1)
        fitting = 0
        for offset in candidates:
            document = (unit.document + offset) % len(source)
            lengths = room.segment_lengths(source, document)
            if not room.fits(lengths):
                continue
            fitting += 1
            sample = self._attempt(room.cut(unit.source, document, lengths)[0], room.capacity, tally)
            if sample is not None:
                return sample
        if fitting < len(candidates):
            return None
        raise UserError(
            f"document {unit.document} of source '{unit.source}' and the {len(candidates)} after it have images that "
            "can not be decoded: clean the source or take it out of the mixture"
        )

    def _attempt(self, unit: Unit, max_pair_len: int, tally: Tally) -> Sample | None:
        """The unit's Sample; None, counted with its reason, if an image is bad."""
        source = self._sources[unit.source]
        whole = len(unit) == unit.document_len
        tally.read += 1
        try:
            sample = self._encoder.encode(
                source.document(unit.document),
                pairs=self._plan.pairs,
                start=unit.start,
                stop=None if whole else unit.stop,
                lengths=None if whole else self._plan.budget.segment_lengths(source, unit.document),
                max_pair_len=max_pair_len,
            )
        except BadImage as error:
            tally.dropped[error.reason] += 1
            return None
        if len(sample) != len(unit):
            raise UserError(
                f"document {unit.document} of source '{unit.source}' has {len(sample)} tokens where its lengths say "
                f"{len(unit)}: it was prepared with another tokenizer, prepare it again"
            )
        return replace(sample, source=unit.source)
