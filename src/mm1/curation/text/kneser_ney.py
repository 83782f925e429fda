"""An n-gram model with interpolated modified Kneser-Ney smoothing, written as ARPA for KenLM, which only reads.

    model = estimate(*counter.finish(), vocab_size=16_000)
    write_arpa(model, path)                              # words are spelled as their numbers
    kenlm.Model(str(path)).score("17 4 2015")

Chen & Goodman 1998, section 3, in the form of Heafield et al. 2013, section 3: a run of full length counts as often as
it occurs, a shorter one as often as different words stand before it (but as often as it occurs where it begins a
sentence). Of each count c a discount D(min(c, 3)) is taken, and what is taken in a context is spread as the context
without its first word would have it; at the bottom, evenly over the seen words, the end of a sentence and <unk>.

A run of n words is known by its row in the table of its length, found through the row of the run without its first
word; so everything is arithmetic on flat arrays. Knows nothing of texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where the counts of counts give none, as for tiny or artificial corpora (lmplz --discount_fallback)."""

_LINES = 1 << 16
"""Lines of the ARPA file made at once."""


@dataclass(frozen=True)
class Ngrams:
    """All runs of one length n, a row each."""

    suffix: NDArray[np.int64]
    """Row, among the runs of n - 1 words, of the run without its first word; 0 for single words."""
    context: NDArray[np.int64]
    """Row there of the run without its last word; 0 for single words."""
    first: NDArray[np.int64]
    """The first word."""
    raw: NDArray[np.int64]
    """How often the run occurs."""
    adjusted: NDArray[np.int64]
    """How many different words stand before it, or `raw` where none can."""


@dataclass(frozen=True)
class Estimates:
    """What the model says of each run of one length."""

    probability: NDArray[np.float64]
    """Of the last word after the others."""
    backoff: NDArray[np.float64]
    """Of the run as a context: what it leaves for words that are not listed after it; 1 where none is."""
    kept: NDArray[np.bool_]
    """Whether the run is listed: it is not pruned, and a single word was seen or is `bos`."""


@dataclass(frozen=True)
class Model:
    """Runs of 1, 2, … words; the word `vocab_size` is the beginning of a sentence and the next one its end."""

    vocab_size: int
    ngrams: tuple[Ngrams, ...]
    estimates: tuple[Estimates, ...]
    discounts: tuple[tuple[float, float, float], ...]
    """Of each length, for counts of 1, of 2, and of 3 or more; `FALLBACK` where the counts told none."""
    unknown: float
    """The probability of <unk>: of all words that were never seen together."""

    def words(self, length: int) -> NDArray[np.int64]:
        """[M, length] the words of the runs of a length, in the order of the rows."""
        runs = self.ngrams[length - 1]
        if length == 1:
            return runs.first[:, None]
        return np.concatenate([runs.first[:, None], self.words(length - 1)[runs.suffix]], axis=1)


def estimate(
    windows: NDArray[np.uint32], counts: NDArray[np.int64], vocab_size: int, prune: Sequence[int] = (0,)
) -> Model:
    """The model of what an `NgramCounter` saw.

    Args:
        windows: as it gives them.
        counts: likewise.
        vocab_size: as it was given.
        prune: for lengths 1, 2, …: runs that occur at most so often are left out, and their share goes to the shorter
            contexts. Begins with 0 and never falls; the last one holds for all longer runs.
    """
    assert windows.shape[1] > 1, windows.shape  # KenLM reads no model of single words
    assert prune[0] == 0, prune
    assert list(prune) == sorted(prune), prune
    ngrams = _ngrams(windows, counts, vocab_size)
    seen = ngrams[0].adjusted > 0
    probability = np.full(1, 1 / (np.count_nonzero(seen) + 1))  # even, over the seen words and <unk>
    unknown, discounts, estimates, backoffs = 0.0, [], [], []
    for length, runs in enumerate(ngrams, start=1):
        kept = runs.raw > prune[min(length, len(prune)) - 1]
        discount = _discounts(runs.adjusted)
        taken = np.array([0.0, *discount])[np.minimum(runs.adjusted, 3)]
        totals = np.bincount(runs.context, runs.adjusted, len(probability))
        followed = totals > 0
        left = np.bincount(runs.context, np.where(kept, taken, runs.adjusted), len(probability))
        backoff = np.divide(left, totals, out=np.ones(len(totals)), where=followed)
        if length == 1:
            unknown = float(backoff[0] * probability[0])
        own = (runs.adjusted - taken) / totals[runs.context]
        probability = own + backoff[runs.context] * probability[runs.suffix]
        discounts.append(discount)
        backoffs.append(backoff)
        estimates.append((probability, kept))
    estimates[0][1][vocab_size] = True
    backoffs.append(np.ones(len(probability)))
    return Model(
        vocab_size,
        tuple(ngrams),
        tuple(Estimates(p, b, kept) for (p, kept), b in zip(estimates, backoffs[1:], strict=True)),
        tuple(discounts),
        unknown,
    )


def _ngrams(windows: NDArray[np.uint32], counts: NDArray[np.int64], vocab_size: int) -> list[Ngrams]:
    """The runs of each length with their counts."""
    bos, base, order = vocab_size, vocab_size + 2, windows.shape[1]
    rows = windows[:, -1].astype(np.int64)  # of each window, the row of its last `length` words
    nothing = np.zeros(base, np.int64)
    raws = [np.bincount(rows, counts, base).astype(np.int64)]
    suffixes, contexts, firsts = [nothing], [nothing], [np.arange(base)]
    keys = np.arange(base)
    for length in range(2, order + 1):
        begun = windows[:, order - length + 1] != bos  # else the window is a shorter run
        windows, counts, rows = windows[begun], counts[begun], rows[begun]
        longer, rows = np.unique(rows * base + windows[:, order - length], return_inverse=True)
        suffix, first = np.divmod(longer, base)
        raws.append(np.bincount(rows, counts, len(longer)).astype(np.int64))
        # Without its last word, a run is its first word before what its suffix is without its last word.
        contexts.append(np.searchsorted(keys, contexts[-1][suffix] * base + first))
        suffixes.append(suffix)
        firsts.append(first)
        keys = longer
    adjusted = [
        np.where(first == bos, raw, np.bincount(suffix, minlength=len(raw)))
        for first, raw, suffix in zip(firsts[:-1], raws[:-1], suffixes[1:], strict=True)
    ]
    return [Ngrams(*columns) for columns in zip(suffixes, contexts, firsts, raws, [*adjusted, raws[-1]], strict=True)]


def _discounts(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Chen & Goodman's estimates from how many runs have each count."""
    of = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)  # of[k]: runs of count k
    if not np.all(of[1:5]):
        return FALLBACK
    share = of[1] / (of[1] + 2 * of[2])
    one, two, three = (float(k - (k + 1) * share * of[k + 1] / of[k]) for k in (1, 2, 3))
    return (one, two, three) if 0 < one <= 1 and 0 < two <= 2 and 0 < three <= 3 else FALLBACK


def write_arpa(model: Model, path: Path) -> None:
    """Writes the model in the format that KenLM and others read: base-10 logarithms, words as their numbers."""
    spelled = [*map(str, range(model.vocab_size)), "<s>", "</s>"]
    kept = [np.flatnonzero(estimates.kept) for estimates in model.estimates]
    with path.open("w", encoding="ascii") as file:
        file.write("\\data\\\n")
        for length, rows in enumerate(kept, start=1):
            file.write(f"ngram {length}={len(rows) + (length == 1)}\n")  # <unk> is one more
        for length, rows in enumerate(kept, start=1):
            file.write(f"\n\\{length}-grams:\n")
            if length == 1:
                file.write(f"{math.log10(model.unknown):.9g}\t<unk>\n")
            words = model.words(length)[rows]
            probability = np.log10(model.estimates[length - 1].probability[rows])
            probability[words[:, -1] == model.vocab_size] = -99  # nothing is followed by a beginning
            backoff = np.log10(model.estimates[length - 1].backoff[rows])
            for start in range(0, len(rows), _LINES):
                piece = slice(start, start + _LINES)
                runs = (" ".join(map(spelled.__getitem__, run)) for run in words[piece].tolist())
                lines = zip(probability[piece].tolist(), runs, backoff[piece].tolist(), strict=True)
                if length < len(kept):
                    file.writelines(f"{p:.9g}\t{run}\t{b:.9g}\n" for p, run, b in lines)
                else:
                    file.writelines(f"{p:.9g}\t{run}\n" for p, run, _ in lines)
        file.write("\n\\end\\\n")
