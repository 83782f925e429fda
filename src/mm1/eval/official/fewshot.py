"""A benchmark as a task: rows become episodes when they are asked, each with examples that the selection chooses.

    FewShotTask(name="vqav2", …).episode(number=0, shots=4, seed=1)     # four pictures with answers, then the question

Until then an episode has neither pictures nor prompt, for the pictures of a benchmark do not fit into memory. Knows
nothing of models or files' formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mm1.config import UserError, fingerprint
from mm1.eval.episodes import Episode, assert_no_leak
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Row
from mm1.eval.official.selection import Selection
from mm1.eval.official.templates import Template
from mm1.eval.tasks import Task
from mm1.types import Segment


@dataclass(frozen=True, kw_only=True)
class FewShotTask(Task):
    """`episodes` hold what answers are compared with, in the order of `rows`."""

    rows: tuple[Row, ...] = field(repr=False)
    pool: tuple[Row, ...] = field(repr=False)
    """Rows that may be examples, the questions themselves among them where both are of one file."""
    num_examples: int
    """How many may be at most, of one question."""
    pictures: Pictures = field(repr=False)
    template: Template
    selection: Selection
    text_only: bool = False
    """Examples without their pictures: what Flamingo and others call 0 shots, with two of them."""
    last_in_sub_images: int | None = None
    """So many of the last examples are cut into sub-images as the question is, earlier ones are one image each; None:
    all are cut as the model's configuration says."""

    def check_shots(self, shots: int) -> None:
        if not 0 <= shots <= self.num_examples:
            raise UserError(
                f"task '{self.name}' has {self.num_examples} rows that may be examples, {shots} were asked for: ask "
                "for fewer, or give more"
            )

    def has_images(self, number: int, shots: int) -> bool:
        return True

    def episode(self, number: int, shots: int, seed: int) -> Episode:
        row = self.rows[number]
        picture = self.pictures.read(row)
        chosen = self.selection.draw(row, shots, seed)
        episode = replace(
            self.episodes[number],
            query=self.template.query(row, picture),
            shots=tuple(self._shot(shot, shots - place) for place, shot in enumerate(chosen)),
            shot_ids=tuple(shot.id for shot in chosen),
        )
        assert_no_leak(episode)
        return episode

    def _shot(self, row: Row, from_last: int) -> tuple[Segment, ...]:
        """`from_last` counts from 1, the example next to the question."""
        if self.text_only:
            return self.template.shot(row, None)
        whole = self.last_in_sub_images is not None and from_last > self.last_in_sub_images
        return self.template.shot(row, replace(self.pictures.read(row), whole=whole))

    def identity(self) -> str:
        # A picture that was missing or broken and is not any more makes another question.
        return fingerprint([super().identity(), self._shown(self.rows)])

    def examples_identity(self) -> str:
        answers = [[row.shown, row.rationale] for row in self.pool]
        return fingerprint([self._shown(self.pool), answers])

    def _shown(self, rows: Sequence[Row]) -> list[list[object]]:
        return [[row.id, row.picture, row.question, self.pictures.mark(row.picture)] for row in rows]


def key(row: Row, template: Template, choose: bool) -> Episode:
    """The episode of a row as far as answers are compared with it."""
    candidates = tuple(template.continuation(replace(row, shown=choice)) for choice in row.choices) if choose else ()
    chance = 1 / len(candidates) if candidates else 0.0
    return Episode(id=row.id, query=(), references=row.answers, kind=row.kind, candidates=candidates, chance=chance)
