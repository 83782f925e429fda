r"""A task: episodes, how the model is asked (free text or a choice), and how its answers are scored.

    task = Task(name="shapes", episodes=episodes, metric=exact_match, max_new_tokens=4)
    task.extract(" Triangle.\nit is")     # "Triangle."
    task.metric(["Triangle."], episodes[:1])

A metric is a function from extracted answers and their episodes to one ItemScore each; the task's score is their mean.
Metrics over a corpus (CIDEr) look at all episodes at once and still give one score an item, so that one bootstrap
serves all. Knows nothing of models, files, or which tasks a recipe runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from mm1.config import UserError
from mm1.eval.episodes import Episode, assert_no_leak, digest_of
from mm1.eval.metrics import caption, text, vqa
from mm1.types import Image


@dataclass(frozen=True, slots=True)
class Part:
    """What one question contributes to one kind."""

    kind: str
    score: float
    chance: float


@dataclass(frozen=True, slots=True)
class ItemScore:
    """The score of one answer, and its parts for the report by kind."""

    score: float
    parts: tuple[Part, ...]


class Metric(Protocol):
    """A scoring function; its name goes into the result files."""

    __name__: str

    def __call__(self, outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
        """One ItemScore for each pair of extracted answer and episode, in order."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """Episodes and how to score them; construction refuses episodes that would not measure anything.

    Raises:
        UserError: a name unfit for files, no episodes, ids that occur twice, a query among its own shots, nothing to
            compare an answer with, or a choice that does not contain the right answer.
    """

    name: str
    episodes: tuple[Episode, ...]
    metric: Metric
    mode: Literal["generate", "choose"] = "generate"
    """generate: greedy text, cut at the first stop. choose: the most likely of the episode's candidates."""
    stop: tuple[str, ...] = ("\n",)
    max_new_tokens: int = 32
    length_normalised: bool = False
    """choose only: compare log-likelihoods per UTF-8 byte of the candidate, instead of their sums."""
    tidy: Callable[[str], str] = str.strip
    """What becomes of an answer after it was cut at the first stop."""
    seeds: tuple[int, ...] = (0,)
    """By each of these, an episode gets other shots; scores are means over them. One where shots are not drawn."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """How many questions of the files are no episodes, by reason."""
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """What one has to know to ask the same again: files, prompt, choice of shots. JSON; it stands in the results."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.+-]+", self.name):
            raise UserError(f"'{self.name}' names files: use letters, digits and _ . + - only")
        if not self.episodes:
            raise UserError(f"task '{self.name}' has no episodes: give it at least one")
        repeated = [id for id, count in Counter(episode.id for episode in self.episodes).items() if count > 1]
        if repeated:
            raise UserError(f"task '{self.name}' has {len(repeated)} repeated episode ids, '{repeated[0]}' the first")
        for episode in self.episodes:
            assert_no_leak(episode)
            wanted = "required" if self.metric is attribute_accuracy else "references"
            if not getattr(episode, wanted):
                raise UserError(f"task '{self.name}': episode '{episode.id}' has no {wanted}: add what is right")
            if self.mode == "choose":
                self._check_choice(episode)

    def check_shots(self, shots: int) -> None:
        """Refuses a number of shots that some episode can not have.

        Raises:
            UserError: naming the episode and both numbers.
        """
        for episode in self.episodes:
            if not 0 <= shots <= len(episode.shots):
                raise UserError(
                    f"episode '{episode.id}' has {len(episode.shots)} shots, {shots} were asked for: ask for 0 to "
                    f"{len(episode.shots)}, or make episodes with more"
                )

    def episode(self, number: int, shots: int, seed: int) -> Episode:
        """Episode `number` with exactly so many shots, those that `seed` draws.

        Raises:
            Unaskable: a picture that it needs is gone or broken.
        """
        episode = self.episodes[number]
        return replace(episode, shots=episode.shots[:shots], shot_ids=episode.shot_ids[:shots])

    def has_images(self, number: int, shots: int) -> bool:
        """Whether the prompt of episode `number` shows any."""
        episode = self.episodes[number]
        parts = (episode.header, *episode.shots[:shots], episode.query)
        return any(isinstance(segment, Image) for part in parts for segment in part)

    def identity(self) -> str:
        """A hash of all that is asked and how, so that a stale result is not taken for an answer."""
        content = hashlib.sha256()
        how = [self.metric.__name__, self.mode, self.stop, self.max_new_tokens, self.length_normalised]
        content.update(json.dumps([self.name, how, self.seeds, dict(self.conditions)]).encode())
        for episode in self.episodes:
            parts = (episode.header, *episode.shots, episode.query)
            shown = [[digest_of(s) if isinstance(s, Image) else s.text for s in part] for part in parts]
            required = [[attribute.words, attribute.kind, attribute.chance] for attribute in episode.required]
            asked = [episode.id, episode.kind, episode.references, episode.candidates, episode.chance, required, shown]
            content.update(json.dumps(asked).encode())
        return content.hexdigest()

    def examples_identity(self) -> str:
        """A hash of what may be shots, where they are drawn from elsewhere than the episodes; part of who has any."""
        return ""

    def _check_choice(self, episode: Episode) -> None:
        right = {normalise(reference) for reference in episode.references}
        choices = [normalise(candidate) for candidate in episode.candidates]
        if not right & set(choices) or len(set(choices)) != len(choices):
            raise UserError(
                f"task '{self.name}': episode '{episode.id}' offers {choices} where {sorted(right)} is right: give "
                "different candidates with the right one among them"
            )

    def extract(self, output: str) -> str:
        """The answer in a raw output: what precedes the first stop, tidied. Its case is the metric's affair."""
        for stop in self.stop:
            output = output.split(stop, 1)[0]
        return self.tidy(output).strip()

    def reading(self, output: str, number: int) -> str:
        """What the raw output to question `number` is taken as, where that hangs on the question."""
        return self.extract(output)

    def figures(self, answers: Sequence[str], numbers: Sequence[int]) -> dict[str, float]:
        """What papers print that is no mean over questions, of the readings of the questions `numbers`."""
        return {}


def normalise(answer: str) -> str:
    """Answers differ only if they do so after this."""
    return answer.strip().lower()


def _whole(score: float, episode: Episode) -> ItemScore:
    """The score of a question that is of one kind."""
    return ItemScore(score, (Part(episode.kind, score, episode.chance),))


def exact_match(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """1 where the answer is one of the references."""
    return [_whole(text.exact_match(output, e.references), e) for output, e in zip(outputs, episodes, strict=True)]


def vqa_accuracy(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """The official VQA accuracy against the (ten) references."""
    return [_whole(vqa.vqa_accuracy(output, e.references), e) for output, e in zip(outputs, episodes, strict=True)]


def anls(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """Average normalised Levenshtein similarity: the best over the references."""
    return [_whole(text.anls(output, e.references), e) for output, e in zip(outputs, episodes, strict=True)]


def relaxed_accuracy(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """ChartQA's accuracy, five per cent off allowed for numbers: the best over the references."""
    return [
        _whole(max(text.relaxed_match(output, reference) for reference in e.references), e)
        for output, e in zip(outputs, episodes, strict=True)
    ]


def cider(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """CIDEr-D, document frequencies from the references of these very episodes; a fraction (papers print x100).

    A guesser's CIDEr is not known, so chance counts as 0.
    """
    scores = caption.cider_d(
        [caption.tokenise(output) for output in outputs],
        [[caption.tokenise(reference) for reference in episode.references] for episode in episodes],
    )
    return [
        ItemScore(score, (Part(episode.kind, score, chance=0.0),))
        for score, episode in zip(scores, episodes, strict=True)
    ]


def attribute_accuracy(outputs: Sequence[str], episodes: Sequence[Episode], /) -> list[ItemScore]:
    """The share of an episode's required attributes that the answer contains, reported by the attributes' kinds.

    An attribute listed n times has to occur n times. It is a recall: an answer that names everything would win, so
    read it beside CIDEr, or keep `max_new_tokens` at the length of a caption.
    """
    return [_attributes(output, episode) for output, episode in zip(outputs, episodes, strict=True)]


def _attributes(output: str, episode: Episode) -> ItemScore:
    said, left = _words(output), Counter[str]()
    for words in {_words(attribute.words) for attribute in episode.required}:
        left[words] = len(re.findall(rf"(?<!\S){re.escape(words)}(?!\S)", said))
    parts = []
    for attribute in episode.required:
        words = _words(attribute.words)
        found = left[words] > 0
        left[words] -= found
        parts.append(Part(attribute.kind, float(found), attribute.chance))
    return ItemScore(sum(part.score for part in parts) / len(parts), tuple(parts))


def _words(phrase: str) -> str:
    """Letters and digits only, one space between words."""
    return " ".join(re.findall(r"[^\W_]+", phrase.lower()))
