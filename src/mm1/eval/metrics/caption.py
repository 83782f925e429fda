"""Caption metrics as pycocoevalcap computes them: CIDEr-D, BLEU-1..4, ROUGE-L; pure Python, no Java.

    candidates = [tokenise("A dog runs.")]
    references = [[tokenise("A dog is running."), tokenise("The dog runs!")]]
    cider_d(candidates, references)          # one score an item; the corpus score is their mean
    bleu(candidates, references).corpus      # [BLEU-1, BLEU-2, BLEU-3, BLEU-4]

Sources: Vedantam et al. 2015 (CIDEr-D: n = 4, sigma = 6), Papineni et al. 2002, Lin 2004; where the papers and the
official code differ, the code is followed, for it is what published numbers come from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mm1.eval.metrics.ptb import tokenise

__all__ = ["Bleu", "Tokens", "bleu", "cider_d", "rouge_l", "tokenise"]

Tokens: TypeAlias = Sequence[str]
Ngram: TypeAlias = tuple[str, ...]

MAX_N = 4
CIDER_SIGMA = 6.0
ROUGE_BETA = 1.2


def cider_d(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """CIDEr-D of each candidate, in [0, 10]; document frequencies come from the given references.

    A single item scores 0: its n-grams are in every document, so none of them weighs anything.
    """
    assert len(candidates) == len(references), f"{len(candidates)} candidates, {len(references)} reference sets"
    counted = [[_ngrams(tokens) for tokens in group] for group in references]
    documents = Counter(ngram for group in counted for ngram in set().union(*group))
    log_documents = math.log(len(references))
    scores = []
    for candidate, group in zip(candidates, counted, strict=True):
        vector = _tf_idf(_ngrams(candidate), documents, log_documents)
        similarities = [_similarity(vector, _tf_idf(counts, documents, log_documents)) for counts in group]
        scores.append(10.0 * sum(similarities) / len(similarities))
    return scores


@dataclass(frozen=True, slots=True)
class _Vector:
    """TF-IDF weights and their norm by n-gram order, and the length as CIDEr counts it: in bigrams."""

    weights: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    length: int


def _ngrams(tokens: Tokens) -> Counter[Ngram]:
    """Counts of all 1- to 4-grams."""
    return Counter(tuple(tokens[i : i + n]) for n in range(1, MAX_N + 1) for i in range(len(tokens) - n + 1))


def _tf_idf(counts: Counter[Ngram], documents: Counter[Ngram], log_documents: float) -> _Vector:
    weights: tuple[dict[Ngram, float], ...] = tuple({} for _ in range(MAX_N))
    for ngram, count in counts.items():
        weights[len(ngram) - 1][ngram] = count * (log_documents - math.log(max(1, documents[ngram])))
    norms = tuple(math.sqrt(sum(weight * weight for weight in order.values())) for order in weights)
    return _Vector(weights, norms, sum(count for ngram, count in counts.items() if len(ngram) == 2))


def _similarity(candidate: _Vector, reference: _Vector) -> float:
    """Mean over n of the clipped cosine, damped by the difference of lengths."""
    damping = math.exp(-((candidate.length - reference.length) ** 2) / (2 * CIDER_SIGMA**2))
    total = 0.0
    for ours, theirs, norm, other in zip(
        candidate.weights, reference.weights, candidate.norms, reference.norms, strict=True
    ):
        product = sum(min(weight, theirs.get(ngram, 0.0)) * theirs.get(ngram, 0.0) for ngram, weight in ours.items())
        total += product / (norm * other) if norm and other else product
    return damping * total / MAX_N


@dataclass(frozen=True, slots=True)
class Bleu:
    """BLEU-1 to BLEU-4, of the corpus (from summed counts, not a mean of the items) and of each item."""

    corpus: list[float]
    items: list[list[float]]


_TINY, _SMALL = 1e-15, 1e-9


def bleu(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Bleu:
    """BLEU with the official smoothing constants and the closest reference length for the brevity penalty."""
    assert len(candidates) == len(references), f"{len(candidates)} candidates, {len(references)} reference sets"
    items, total = [], _BleuCounts()
    for candidate, group in zip(candidates, references, strict=True):
        counts = _bleu_counts(candidate, group)
        items.append(counts.scores())
        total = total + counts
    return Bleu(total.scores(), items)


@dataclass(frozen=True, slots=True)
class _BleuCounts:
    length: int = 0
    reference_length: int = 0
    guesses: tuple[int, ...] = (0,) * MAX_N
    correct: tuple[int, ...] = (0,) * MAX_N

    def __add__(self, other: _BleuCounts) -> _BleuCounts:
        return _BleuCounts(
            self.length + other.length,
            self.reference_length + other.reference_length,
            tuple(a + b for a, b in zip(self.guesses, other.guesses, strict=True)),
            tuple(a + b for a, b in zip(self.correct, other.correct, strict=True)),
        )

    def scores(self) -> list[float]:
        ratio = (self.length + _TINY) / (self.reference_length + _SMALL)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        scores, product = [], 1.0
        for n, (right, guessed) in enumerate(zip(self.correct, self.guesses, strict=True), start=1):
            product *= (right + _TINY) / (guessed + _SMALL)
            scores.append(product ** (1 / n) * penalty)
        return scores


def _bleu_counts(candidate: Tokens, references: Sequence[Tokens]) -> _BleuCounts:
    allowed: Counter[Ngram] = Counter()
    for reference in references:
        allowed |= _ngrams(reference)
    correct = [0] * MAX_N
    for ngram, count in _ngrams(candidate).items():
        correct[len(ngram) - 1] += min(count, allowed[ngram])
    length = len(candidate)
    closest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
    guesses = tuple(max(0, length - n) for n in range(MAX_N))
    return _BleuCounts(length, closest, guesses, tuple(correct))


def rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L of one candidate: F, with beta 1.2, of the best precision and the best recall over the references."""
    # The official code splits "" into one empty word, which then equals that of another empty caption.
    words, others = candidate or ("",), [reference or ("",) for reference in references]
    common = [_common_subsequence(words, other) for other in others]
    precision = max(common) / len(words)
    recall = max(length / len(other) for length, other in zip(common, others, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _common_subsequence(a: Tokens, b: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        previous = 0
        for j, other in enumerate(b, start=1):
            previous, row[j] = row[j], previous + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]
