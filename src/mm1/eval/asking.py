"""Puts a task's questions to a model, some at a time, and keeps every answer as it comes.

    folder/.asked/vqav2-4shot-3f2a…/k1x9.jsonl      one line an answer, one file a process and start

What stands there is not asked again, so a killed evaluation goes on where it was, with any number of processes. A
prompt that does not fit the model loses its oldest shots, one by one, until it does; a question that does not fit
without any is missing. Knows nothing of metrics or scores.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from mm1.config import fingerprint
from mm1.distributed.collectives import wait_for_all
from mm1.distributed.mesh import World
from mm1.eval.episodes import Episode, Unaskable, digest_of, exchange, prompt, with_images
from mm1.eval.model import EvalModel, PromptTooLong
from mm1.eval.tasks import Task
from mm1.files import write_atomically
from mm1.types import Document, Image

Progress: TypeAlias = Callable[[str, int, int, int], None]
"""Called with (task, "…, blind" where it is, shots, questions done, questions in all) as a task advances."""

TOO_LONG = "prompt too long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one question with one draw of shots: a line of the journal."""

    number: int
    """Of the episode in its task."""
    seed: int
    """Of the shots."""
    missing: str = ""
    """Why it could not be asked; empty if it was."""
    prompt: str = ""
    """As text, ‹image 0›, ‹image 1›, … standing for the images; for eyes only, never parsed."""
    examples: int = 0
    """Shots in the prompt."""
    shot_ids: tuple[str, ...] = ()
    dropped_shots: int = 0
    """Oldest shots that it went without."""
    images: tuple[str, ...] = ()
    """Files of its pictures, relative to the folder of results; empty where they were not kept."""
    image_sha256: tuple[str, ...] = ()
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A task with one number of shots, put to a model."""

    model: EvalModel
    task: Task
    shots: int
    seed: int
    """Of a blind run's exchange."""
    blind: bool
    folder: Path
    """Of the results; kept pictures go into `folder/images`."""
    journal: Path
    chunk: int
    pictured: int
    """Of so many questions the pictures are kept, with the first seed's shots."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Without shots there is nothing to draw."""
        return self.task.seeds if self.shots else self.task.seeds[:1]

    @property
    def title(self) -> str:
        """What is asked, for people who watch."""
        return f"{self.task.name}, blind" if self.blind else self.task.name

    def answers(self, world: World, progress: Progress | None = None) -> list[Answer]:
        """Every answer, by seed and number; the processes of `world` share the work and all get them."""
        self.journal.mkdir(parents=True, exist_ok=True)
        known = {(answer.seed, answer.number) for answer in self._written()}
        wait_for_all()  # nobody writes before everybody has read
        todo = [[n for n in range(len(self.task.episodes)) if (seed, n) not in known] for seed in self.seeds]
        chunks = [
            (seed, numbers[start : start + self.chunk])
            for seed, numbers in zip(self.seeds, todo, strict=True)
            for start in range(0, len(numbers), self.chunk)
        ]
        total = len(self.seeds) * len(self.task.episodes)
        donors = self._donors()
        with _Journal(self.journal) as write:
            for place, (seed, numbers) in enumerate(chunks):
                if place % world.size != world.rank:
                    continue
                write(self._ask(seed, numbers, donors))
                if progress is not None and world.is_first:
                    done = sum(len(asked) for _, asked in chunks[: place + world.size])
                    progress(self.title, self.shots, min(total, len(known) + done), total)
        wait_for_all()
        # Of two evaluations at once, both may have answered: one answer counts.
        found = {(answer.seed, answer.number): answer for answer in self._written()}
        return sorted(found.values(), key=lambda answer: (self.seeds.index(answer.seed), answer.number))

    def forget(self) -> None:
        """Removes the journal, once what it says stands elsewhere."""
        shutil.rmtree(self.journal)
        with suppress(OSError):  # not empty: another evaluation is at work, or was interrupted
            self.journal.parent.rmdir()

    def _written(self) -> Iterator[Answer]:
        for path in self.journal.glob("*.jsonl"):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    values: dict[str, Any] = json.loads(line)
                except ValueError:  # torn: the process ended while it wrote
                    continue
                lists = {key: tuple(values[key]) for key in ("images", "image_sha256", "shot_ids")}
                yield Answer(**{**values, **lists})

    def _donors(self) -> dict[int, int]:
        if not self.blind:
            return {}
        return exchange([self.task.has_images(n, self.shots) for n in range(len(self.task.episodes))], self.seed)

    def _ask(self, seed: int, numbers: Sequence[int], donors: dict[int, int]) -> list[Answer]:
        """The answers to one chunk, in order."""
        episodes: dict[int, Episode] = {}
        given: dict[int, tuple[Image, ...]] = {}
        answers: dict[int, Answer] = {}
        for number in numbers:
            try:
                episode = self.task.episode(number, self.shots, seed)
                if number in donors:
                    donor = self.task.episode(donors[number], self.shots, seed)
                    given[number] = prompt(donor, len(donor.shots)).images
                episodes[number] = episode
            except Unaskable as error:
                answers[number] = Answer(number=number, seed=seed, missing=error.reason)
        answers |= self._put(seed, episodes, given)
        return [answers[number] for number in numbers]

    def _put(self, seed: int, whole: dict[int, Episode], given: dict[int, tuple[Image, ...]]) -> dict[int, Answer]:
        """Answers by number, after as many shots were dropped as the model has no room for."""
        answers: dict[int, Answer] = {}
        episodes = dict(whole)
        while episodes:
            documents = {number: self._document(e, given.get(number)) for number, e in episodes.items()}
            try:
                outputs = self._outputs(list(documents.values()), list(episodes.values()))
            except PromptTooLong as error:
                for number in [number for number, document in documents.items() if document.id in error.ids]:
                    episode = episodes.pop(number)
                    if episode.shots:
                        episodes[number] = replace(episode, shots=episode.shots[1:], shot_ids=episode.shot_ids[1:])
                    else:
                        answers[number] = Answer(number=number, seed=seed, missing=TOO_LONG)
                continue
            for (number, episode), output in zip(episodes.items(), outputs, strict=True):
                answers[number] = replace(
                    self._answer(number, seed, documents[number], output),
                    examples=len(episode.shots),
                    shot_ids=episode.shot_ids,
                    dropped_shots=len(whole[number].shots) - len(episode.shots),
                )
            break
        return answers

    def _document(self, episode: Episode, given: Sequence[Image] | None) -> Document:
        document = replace(prompt(episode, len(episode.shots)), source=self.task.name)
        if given is None:
            return document
        # The last ones: shots that were dropped have taken their pictures with them.
        return with_images(document, given[-len(document.images) :])

    def _outputs(self, documents: Sequence[Document], episodes: Sequence[Episode]) -> list[str]:
        if self.task.mode == "generate":
            outputs = self.model.generate(documents, self.task.max_new_tokens, self.task.stop)
        else:
            outputs = _choose(self.model, documents, episodes, self.task.length_normalised)
        assert len(outputs) == len(documents), (
            f"{len(outputs)} answers to {len(documents)} prompts of task '{self.task.name}'"
        )
        return outputs

    def _answer(self, number: int, seed: int, document: Document, output: str) -> Answer:
        kept = number < self.pictured and seed == self.seeds[0]
        files = tuple(f"images/{digest_of(image)}{_suffix(image.data)}" for image in document.images) if kept else ()
        if kept:
            _write_images(document.images, [self.folder / file for file in files])
        return Answer(
            number=number,
            seed=seed,
            prompt=_readable(document),
            images=files,
            image_sha256=tuple(digest_of(image) for image in document.images),
            output=output,
        )


class _Journal:
    """A new file of the journal; each call of what `with` gives adds lines that are on the disk when it returns."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(".jsonl", dir=folder)
        self._file = os.fdopen(handle, "w", encoding="utf-8")
        self._path = Path(name)

    def __enter__(self) -> Callable[[Sequence[Answer]], None]:
        return self._write

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, answers: Sequence[Answer]) -> None:
        self._file.write("".join(json.dumps(asdict(answer)) + "\n" for answer in answers))
        self._file.flush()


def _choose(
    model: EvalModel, prompts: Sequence[Document], episodes: Sequence[Episode], length_normalised: bool
) -> list[str]:
    """Each episode's most likely candidate."""
    pairs = [(p, candidate) for p, e in zip(prompts, episodes, strict=True) for candidate in e.candidates]
    scores = model.loglikelihood(pairs)
    assert len(scores) == len(pairs), f"{len(scores)} log-likelihoods for {len(pairs)} continuations"
    chosen, start = [], 0
    for episode in episodes:
        candidates = episode.candidates
        values = dict(zip(candidates, scores[start : start + len(candidates)], strict=True))
        assert all(value == value for value in values.values()), f"log-likelihood is NaN in episode '{episode.id}'"
        if length_normalised:
            values = {candidate: value / len(candidate.encode()) for candidate, value in values.items()}
        # A tie goes to a pseudo-random candidate: the first one would favour tasks that list the right answer first.
        chosen.append(max(candidates, key=lambda c: (values[c], fingerprint([episode.id, c]))))
        start += len(candidates)
    return chosen


def _readable(document: Document) -> str:
    numbers = iter(range(len(document.images)))
    return "".join(
        f"‹image {next(numbers)}›" if isinstance(segment, Image) else segment.text for segment in document.segments
    )


def _write_images(images: Sequence[Image], paths: Sequence[Path]) -> None:
    for image, path in zip(images, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_atomically(path, image.data)


_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def _suffix(data: bytes) -> str:
    """The file ending by which a browser knows the format."""
    return next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".bin")
