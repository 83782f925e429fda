"""Published few-shot results of pretrained models, for comparison beside one's own: the rows of MM1's Tables 3 and 6.

    rows_for(shots=8)        # Flamingo-3B, MM1-3B, IDEFICS-9B, …

None was copied from the paper itself: each row says where its numbers come from, "found" in a public source that quotes
them or "recalled", with how sure that is. What neither was found nor is recalled is left out. CIDEr and accuracies are
in points. VQAv2 and VizWiz are of test-dev there, whose answers only the benchmarks' servers have.
"""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = ("coco_captions", "nocaps", "textcaps", "vqav2", "textvqa", "vizwiz", "ok_vqa")
"""In the paper's order."""
HEADS = ("COCO", "NoCaps", "TextCaps", "VQAv2", "TextVQA", "VizWiz", "OK-VQA")


@dataclass(frozen=True, slots=True)
class Published:
    """One row."""

    model: str
    shots: int
    scores: tuple[float | None, ...]
    """In the order of COLUMNS."""
    certainty: str
    text_shots: bool = False
    """Its "0 shots" has two examples without pictures."""


def rows_for(shots: int) -> list[Published]:
    """The rows of so many shots, in the paper's order of sizes."""
    return [row for row in PUBLISHED if row.shots == shots]


_FOUND, _HIGH, _MEDIUM_HIGH, _MEDIUM = "found", "recalled, sure", "recalled, fairly sure", "recalled, unsure"


def _row(model: str, shots: int | str, scores: str, certainty: str) -> Published:
    values = tuple(None if score == "-" else float(score) for score in scores.split())
    assert len(values) == len(COLUMNS)
    return Published(model, int(str(shots).rstrip("+")), values, certainty, str(shots).endswith("+"))


PUBLISHED = (
    _row("Flamingo-3B", "0+", "73.0 - - 49.2 30.1 28.9 41.2", _FOUND),
    _row("Flamingo-3B", 4, "85.0 - - 53.2 32.7 34.0 43.3", _FOUND),
    _row("Flamingo-3B", 8, "90.6 - - 55.4 32.4 38.4 44.6", _FOUND),
    _row("Flamingo-3B", 16, "95.4 - - 56.7 31.8 43.3 45.6", _MEDIUM_HIGH),
    _row("MM1-3B", 0, "73.5 55.6 63.3 46.2 29.4 15.6 26.1", _FOUND),
    _row("MM1-3B", 4, "112.3 99.7 84.1 57.9 45.3 38.0 48.6", _FOUND),
    _row("MM1-3B", 8, "114.6 104.7 88.8 63.6 44.6 46.4 48.4", _FOUND),
    _row("MM1-3B", 16, "116.8 107.6 91.6 60.9 46.1 53.8 50.5", _MEDIUM),
    _row("IDEFICS-9B", "0+", "46.0 36.8 25.4 50.9 25.9 35.5 38.4", _FOUND),
    _row("IDEFICS-9B", 8, "97.0 86.8 63.2 56.4 27.5 40.4 47.7", _HIGH),
    _row("IDEFICS-9B", 16, "99.7 89.4 67.4 57.0 27.9 42.6 48.4", _FOUND),
    _row("Flamingo-9B", "0+", "79.4 - - 51.8 31.8 28.8 44.7", _HIGH),
    _row("Flamingo-9B", 8, "99.0 - - 58.0 33.6 39.4 50.0", _FOUND),
    _row("Emu2-14B", "0+", "- - - 52.9 - 34.4 42.8", _HIGH),
    _row("Emu2-14B", 8, "- - - 59.0 - 43.9 -", _FOUND),
    _row("MM1-7B", 0, "76.3 61.0 64.2 47.8 28.8 15.6 22.6", _MEDIUM_HIGH),
    _row("MM1-7B", 4, "109.8 96.2 84.5 60.6 44.4 37.4 46.6", _MEDIUM),
    _row("MM1-7B", 8, "116.3 106.6 88.2 63.6 46.3 45.3 51.4", _FOUND),
    _row("MM1-7B", 16, "118.6 111.1 93.1 65.2 46.9 53.2 52.9", _MEDIUM),
    _row("IDEFICS-80B", "0+", "91.8 65.0 56.8 60.0 30.9 36.0 45.2", _FOUND),
    _row("IDEFICS-80B", 8, "114.3 105.7 77.6 64.8 35.7 46.1 55.1", _FOUND),
    _row("IDEFICS-80B", 16, "116.6 107.0 81.4 65.4 36.3 48.3 56.8", _HIGH),
    _row("Flamingo-80B", "0+", "84.3 - - 56.3 35.0 31.6 50.6", _HIGH),
    _row("Flamingo-80B", 8, "108.8 - - 65.6 37.3 44.8 57.5", _FOUND),
    _row("Flamingo-80B", 16, "110.5 - - 66.8 37.6 48.4 57.8", _HIGH),
    _row("Emu2-37B", "0+", "- - - 33.3 26.2 40.4 26.7", _HIGH),
    _row("Emu2-37B", 8, "- - - 67.8 49.3 54.7 54.1", _FOUND),
    _row("Emu2-37B", 16, "- - - 68.8 50.3 57.0 57.1", _HIGH),
    _row("MM1-30B", 0, "70.3 54.6 64.9 48.9 28.2 14.5 24.1", _MEDIUM_HIGH),
    _row("MM1-30B", 8, "123.1 111.6 92.9 70.9 49.4 49.9 58.3", _FOUND),
    _row("MM1-30B", 16, "125.3 116.0 97.6 71.9 50.6 57.9 59.3", "VQAv2, TextVQA, VizWiz found; others recalled, sure"),
)
