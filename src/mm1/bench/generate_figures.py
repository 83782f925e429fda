"""The figures of `mm1 bench generate`: seconds and their ratios, as a table for people and as JSON for scripts.

Knows nothing of how anything was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt
from rich.table import Table

from mm1.bench.contestant import Timing
from mm1.config import Config
from mm1.generate.statistics import Statistics

OURS = "mm1"


class GenerateBenchConfig(Config):
    """How much is measured, and where."""

    model: Literal["small", "tiny"] = "small"
    """tiny: the tiny recipe's, 4 tokens an image. small: 64 tokens an image of 224 pixels, 26 million weights."""
    repetitions: PositiveInt = 5
    questions: PositiveInt = 64
    shots: NonNegativeInt = 8
    new_tokens: PositiveInt = 10
    """A question: about as long as an answer is in VQA."""
    batches: tuple[PositiveInt, ...] = (8, 32)
    """Sizes that transformers is tried with; the faster one is compared."""
    device: Literal["cpu", "cuda"] | None = None
    """CUDA where there is one when None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One repetition of one contestant."""

    timing: Timing
    """`data_seconds`: making token ids and pixels of documents."""
    texts: tuple[str, ...]
    new_tokens: int
    images_encoded: int
    statistics: Statistics | None = None
    """mm1's own."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything measured, by contestant."""

    config: GenerateBenchConfig
    device: str
    environment: dict[str, Any]
    parameters: int
    prompt_positions: float
    """Mean over the questions."""
    rounds: dict[str, list[Round]] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        return median(one.timing.seconds for one in self.rounds[name])

    def generating(self, name: str) -> float:
        """Median seconds without making token ids and pixels."""
        return median(one.timing.seconds - (one.timing.data_seconds or 0) for one in self.rounds[name])

    def processor_seconds(self, name: str) -> float:
        """Of all threads: what other programs take from the machine does not count."""
        return median(one.timing.cpu_seconds for one in self.rounds[name])

    @property
    def peers(self) -> list[str]:
        return [name for name in self.rounds if name != OURS]

    def ratio(self, of: Callable[[str], float]) -> float:
        """How many times as fast as the fastest peer mm1 is."""
        return min(of(peer) for peer in self.peers) / of(OURS)

    def equal_texts(self, name: str) -> float:
        """Share of the questions to which a contestant says what mm1 says."""
        pairs = zip(self.rounds[name][0].texts, self.rounds[OURS][0].texts, strict=True)
        return sum(a == b for a, b in pairs) / self.config.questions


def table(figures: Figures) -> Table:
    """Contestants across, figures down."""
    config = figures.config
    title = f"{config.questions} questions after {config.shots} shots"
    result = Table(title=title, title_justify="left", box=None)
    result.add_column("", no_wrap=True)
    for name in figures.rounds:
        result.add_column(name, justify="right")

    def row(name: str, cell: Callable[[str], str]) -> None:
        result.add_row(name, *(cell(contestant) for contestant in figures.rounds))

    row("seconds", lambda name: f"{figures.seconds(name):.2f}")
    row("  of them generating", lambda name: f"{figures.generating(name):.2f}")
    row("processor seconds", lambda name: f"{figures.processor_seconds(name):.2f}")
    row("questions/s", lambda name: f"{config.questions / figures.seconds(name):,.1f}")
    row("new tokens/s", lambda name: f"{figures.rounds[name][0].new_tokens / figures.seconds(name):,.1f}")
    row("images encoded", lambda name: f"{figures.rounds[name][0].images_encoded:,}")
    row("texts equal to mm1's", lambda name: f"{figures.equal_texts(name):.0%}")
    return result


def lines(figures: Figures) -> list[str]:
    """The ratios, mm1's own figures, and where they were measured."""
    statistics = figures.rounds[OURS][0].statistics
    assert statistics is not None
    made_on = figures.environment
    return [
        f"mm1 is {figures.ratio(figures.seconds):.1f} times as fast as the faster transformers; "
        f"{figures.ratio(figures.generating):.1f} times without tokenising and decoding pictures, "
        f"{figures.ratio(figures.processor_seconds):.1f} times by processor time.",
        f"mm1: {statistics.prefix_hit_share:.1%} of the prompts' positions shared, {statistics.padding_share:.1%} "
        f"padding, {statistics.images_per_second:,.1f} images encoded/s, {statistics.tokens_per_second:,.1f} new "
        "tokens/s in the engine.",
        f"{config_words(figures)}, medians of {figures.config.repetitions} repetitions in turn.",
        f"{figures.device}, {made_on['threads']} threads of {made_on['processor']}, torch {made_on['torch']}, "
        f"transformers {made_on['transformers']}, load {made_on['load']:.1f} at the start",
    ]


def config_words(figures: Figures) -> str:
    """What was asked."""
    return (
        f"Model {figures.config.model}, {figures.parameters:,} parameters, random weights; prompts of "
        f"{figures.prompt_positions:,.0f} positions, {figures.config.new_tokens} new tokens each"
    )


def to_json(figures: Figures) -> dict[str, Any]:
    """Plain values, with every repetition's seconds."""
    statistics = figures.rounds[OURS][0].statistics
    assert statistics is not None
    return {
        "bench": "generate",
        "config": figures.config.model_dump(mode="json"),
        "device": figures.device,
        "environment": figures.environment,
        "parameters": figures.parameters,
        "prompt_positions": figures.prompt_positions,
        "ratio": figures.ratio(figures.seconds),
        "ratio_generating": figures.ratio(figures.generating),
        "ratio_processor": figures.ratio(figures.processor_seconds),
        "prefix_hit_share": statistics.prefix_hit_share,
        "images_per_second": statistics.images_per_second,
        "tokens_per_second": statistics.tokens_per_second,
        "contestants": {
            name: {
                "median_seconds": figures.seconds(name),
                "median_generating": figures.generating(name),
                "new_tokens": rounds[0].new_tokens,
                "images_encoded": rounds[0].images_encoded,
                "equal_texts": figures.equal_texts(name),
                "timings": [asdict(one.timing) for one in rounds],
            }
            for name, rounds in figures.rounds.items()
        },
    }
