"""Metrics over short answers: exact match, ANLS (document and scene text), relaxed accuracy (charts).

    exact_match(" Red", ["red"])         # 1.0
    anls("helo wrld", ["hello world"])   # 0.82: one minus the edit distance by length, 0 below a half
    relaxed_match("10.4", "10")          # 1.0: within five per cent

Sources: Biten et al. 2019 (ANLS), Masry et al. 2022 (relaxed accuracy), as the public harnesses compute them.
"""

from __future__ import annotations

from collections.abc import Sequence

ANLS_THRESHOLD = 0.5
MAX_RELATIVE_CHANGE = 0.05


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 where the stripped, lower-cased answer is one of the references, 0.0 elsewhere."""
    return float(answer.strip().lower() in {reference.strip().lower() for reference in references})


def anls(answer: str, references: Sequence[str]) -> float:
    """The best normalised Levenshtein similarity over the references, 0 where it is below one half.

    Case, outer space and runs of space do not count.
    """
    best = max(_similarity(_squeeze(answer), _squeeze(reference)) for reference in references)
    return best if best >= ANLS_THRESHOLD else 0.0


def _similarity(a: str, b: str) -> float:
    longest = max(len(a), len(b))
    return 1 - edit_distance(a, b) / longest if longest else 1.0


def _squeeze(text: str) -> str:
    return " ".join(text.lower().split())


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions and substitutions that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (letter != other))
    return row[-1]


def relaxed_match(answer: str, reference: str) -> float:
    """1.0 for a number within five per cent of the reference, or for the same text in any case; 0.0 elsewhere.

    "12%" is read as 0.12. Against a reference of zero, five per cent of nothing is nothing: the text is compared.
    """
    number, target = _number(answer), _number(reference)
    if number is not None and target:
        return float(abs(number - target) / abs(target) <= MAX_RELATIVE_CHANGE)
    return float(answer.lower() == reference.lower())


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
