"""The figures of `mm1 bench train`: rates, ratios of medians, as a table for people and as JSON for scripts.

A rate counts useful work only: the same documents' tokens and images for every contestant, never padding and never the
positions of images. Knows nothing of how anything was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.table import Table

from mm1.bench.contestant import Description, Timing

STEADY = 0.9
"""The least steadiness at which figures are printed without a warning."""

OURS, PEERS = ("mm1", "mm1_unpooled"), ("llava", "llava_grouped")
"""Who is divided by whom."""

NOTES = (
    "Useful tokens: text of the documents, the same for all; neither padding nor image positions count.",
    "Both have the same encoder depth and width, decoder depth, width and heads, vocabulary and number of parameters: "
    "the SwiGLU of Llava, and the MLP of mm1 without pooling, are widened to the recipe's total.",
    "What differs: Llava keeps one decoder position a patch, the recipe pools to fewer; mm1 without pooling has "
    "Llava's positions and projector. mm1 has a convolutional stem and smeared keys, Llava a class token and SwiGLU; "
    "mm1 computes logits only where there is a target, Llava everywhere.",
    "mm1 decodes, tokenises and packs inside the time measured; the batches of the other three were made before.",
    "Llava reads the documents in mm1's order, in which those of one source stand together: less padding than in the "
    "Trainer's shuffle. Grouped: sorted by length first, as the Trainer's option does.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything measured; contestants and their timings by key."""

    device: str
    environment: dict[str, Any]
    documents: int
    """Documents of a repetition, and in them:"""
    supervised_tokens: int
    text_tokens: int
    images: int
    contestants: dict[str, Description]
    timings: dict[str, list[Timing]]

    def seconds(self, key: str) -> float:
        """Median of a contestant's repetitions."""
        return median(timing.seconds for timing in self.timings[key])

    def data_share(self, key: str) -> float | None:
        """Share of the time that went into making batches; None where they were made beforehand."""
        shares = [
            timing.data_seconds / timing.seconds for timing in self.timings[key] if timing.data_seconds is not None
        ]
        return median(shares) if shares else None

    def ratio(self, ours: str, peer: str) -> float:
        """How many times as fast `ours` is: a ratio of medians, the same for every kind of useful token."""
        return self.seconds(peer) / self.seconds(ours)

    def steadiness(self) -> float:
        """The least processor share of a repetition, as a part of the most that the same contestant had: far below 1,
        something else ran beside some repetitions, and medians of different contestants can not be compared.
        """
        shares = [[timing.cpu_seconds / timing.seconds for timing in timings] for timings in self.timings.values()]
        return min(min(each) / max(each) for each in shares)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with every repetition's seconds."""
        return {
            "bench": "train",
            "device": self.device,
            "environment": self.environment,
            "documents": self.documents,
            "supervised_tokens": self.supervised_tokens,
            "text_tokens": self.text_tokens,
            "images": self.images,
            "contestants": {key: self._contestant(key) for key in self.contestants},
            "steadiness": self.steadiness(),
            "ratios": {ours: {peer: self.ratio(ours, peer) for peer in PEERS} for ours in OURS},
            "notes": list(NOTES),
        }

    def _contestant(self, key: str) -> dict[str, Any]:
        seconds = self.seconds(key)
        return {
            **asdict(self.contestants[key]),
            "fill": self.contestants[key].fill,
            "supervised_tokens_per_second": self.supervised_tokens / seconds,
            "text_tokens_per_second": self.text_tokens / seconds,
            "images_per_second": self.images / seconds,
            "data_share": self.data_share(key),
            "median_seconds": seconds,
            "timings": [asdict(timing) for timing in self.timings[key]],
        }


def table(figures: Figures) -> Table:
    """Contestants across, figures down."""
    result = Table(title="Training on the same documents", title_justify="left", box=None)
    result.add_column("", no_wrap=True)
    for description in figures.contestants.values():
        result.add_column(description.name, justify="right")
    for name, cell in _rows(figures).items():
        result.add_row(name, *(cell(key) for key in figures.contestants))
    return result


def _rows(figures: Figures) -> dict[str, Callable[[str], str]]:
    """What a line is called, and how its cell is made from a contestant's key."""

    def rate(count: int) -> Callable[[str], str]:
        return lambda key: f"{count / figures.seconds(key):,.0f}"

    def described(show: Callable[[Description], str]) -> Callable[[str], str]:
        return lambda key: show(figures.contestants[key])

    def data_share(key: str) -> str:
        share = figures.data_share(key)
        return "beforehand" if share is None else f"{share:.1%}"

    def against(peer: str) -> Callable[[str], str]:
        return lambda key: f"{figures.ratio(key, peer):.2f}"

    return {
        "supervised tokens/s": rate(figures.supervised_tokens),
        "text tokens/s": rate(figures.text_tokens),
        "images/s": rate(figures.images),
        **{f"ratio to {figures.contestants[peer].name}": against(peer) for peer in PEERS},
        "seconds": lambda key: f"{figures.seconds(key):.2f}",
        "  fastest, slowest": lambda key: _spread(figures.timings[key]),
        "making batches": data_share,
        "fill": described(lambda one: f"{one.fill:.1%}"),
        "image tokens": described(lambda one: str(one.image_tokens)),
        "batch": described(lambda one: one.batch),
        "steps": described(lambda one: str(one.steps)),
        "positions": described(lambda one: f"{one.positions:,}"),
        "optimizer": described(lambda one: one.optimizer),
        "precision": described(lambda one: one.precision),
        "parameters": described(lambda one: f"{one.parameters['total']:,}"),
        **{f"  {part}": _part(figures, part) for part in figures.contestants["mm1"].parameters if part != "total"},
    }


def _part(figures: Figures, part: str) -> Callable[[str], str]:
    return lambda key: f"{figures.contestants[key].parameters[part]:,}"


def _spread(timings: list[Timing]) -> str:
    seconds = [timing.seconds for timing in timings]
    return f"{min(seconds):.2f}–{max(seconds):.2f}"


def lines(figures: Figures) -> list[str]:
    """What stands around the table: the documents, the machine, what the settings' trials showed, what differs."""
    made_on = figures.environment
    tried = [
        f"{one.name}, tried: " + "; ".join(f"{setting} {seconds:.2f} s" for setting, seconds in one.tried.items())
        for one in figures.contestants.values()
        if one.tried
    ]
    return [
        f"{figures.documents:,} documents a repetition: {figures.supervised_tokens:,} supervised of "
        f"{figures.text_tokens:,} text tokens, {figures.images:,} images. Medians of "
        f"{len(figures.timings['mm1'])} repetitions in turn.",
        f"{figures.device}, {made_on['threads']} threads of {made_on['processor']}, torch {made_on['torch']}, "
        f"transformers {made_on['transformers']}, load {made_on['load']:.1f} at the start"
        + (f", {made_on['gpu']}" if figures.device.startswith("cuda") else ""),
        *tried,
        *NOTES,
        *([] if figures.steadiness() >= STEADY else [unsteady(figures.steadiness())]),
    ]


def unsteady(steadiness: float) -> str:
    """The warning of figures that were disturbed."""
    return (
        "DO NOT QUOTE: something else was running. A repetition had "
        f"{steadiness:.0%} of the processor that another had: measure again on a calm machine."
    )
