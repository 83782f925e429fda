"""The n-gram model against its own definition, written out word by word, and against KenLM reading the file."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import kenlm
import numpy as np
import pytest

from mm1.curation.text import ngram_counts
from mm1.curation.text.kneser_ney import FALLBACK, Model, estimate, write_arpa
from mm1.curation.text.ngram_counts import NgramCounter

VOCAB = 12


def _corpus(sentences: int, seed: int = 0) -> list[list[int]]:
    """Sentences of a few words in which each depends on the one before, some empty, word 11 never."""
    draw = random.Random(seed)
    corpus = []
    for _ in range(sentences):
        words: list[int] = []
        for _ in range(draw.randrange(9)):
            words.append((words[-1] * 3 + draw.randrange(3)) % 11 if words else draw.randrange(11))
        corpus.append(words)
    return corpus


def _train(corpus: list[list[int]], order: int, prune: tuple[int, ...] = (0,)) -> Model:
    counter = NgramCounter(order, VOCAB)
    for words in corpus:
        counter.add(words)
    return estimate(*counter.finish(), VOCAB, prune)


def _open(path: Path) -> kenlm.Model:
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    return kenlm.Model(str(path), config)


class Reference:
    """Interpolated modified Kneser-Ney as the papers define it, in dictionaries and without any cleverness."""

    def __init__(self, corpus: list[list[int]], order: int, limits: list[int]) -> None:
        self.order, self.raw, self.limits = order, Counter[tuple[object, ...]](), limits
        for words in corpus:
            padded = ["<s>", *words, "</s>"]
            for length in range(1, order + 1):
                for start in range(len(padded) - length + 1):
                    self.raw[tuple(padded[start : start + length])] += 1
        del self.raw[("<s>",)]
        before = defaultdict(set)
        for run in self.raw:
            before[run[1:]].add(run[0])
        self.count = {
            run: count if len(run) == order or run[0] == "<s>" else len(before[run]) for run, count in self.raw.items()
        }
        self.discount = {length: self._discounts(length) for length in range(1, order + 1)}
        self.after = defaultdict(list)
        for run in self.count:
            self.after[run[:-1]].append(run)
        self.seen = len(self.after[()]) + 1

    def _discounts(self, length: int) -> list[float]:
        of = Counter(count for run, count in self.count.items() if len(run) == length)
        if not all(of[k] for k in (1, 2, 3, 4)):
            return [0.0, *FALLBACK]
        y = of[1] / (of[1] + 2 * of[2])
        found = [1 - 2 * y * of[2] / of[1], 2 - 3 * y * of[3] / of[2], 3 - 4 * y * of[4] / of[3]]
        return [0.0, *(found if all(0 < d <= k for k, d in enumerate(found, 1)) else FALLBACK)]

    def probability(self, context: tuple[object, ...], word: object) -> float:
        shorter = self.probability(context[1:], word) if context else 1 / self.seen
        runs = self.after.get(context)
        if not runs:
            return shorter
        discount = self.discount[len(context) + 1]
        listed = [run for run in runs if self.raw[run] > self.limits[len(context)]]
        total = sum(self.count[run] for run in runs)
        own = {run: self.count[run] - discount[min(3, self.count[run])] for run in listed}
        return (own.get((*context, word), 0.0) + (total - sum(own.values())) * shorter) / total


@pytest.mark.parametrize(
    ("order", "sentences", "prune"),
    [(5, 400, (0,)), (3, 30, (0,)), (2, 200, (0,)), (5, 400, (0, 0, 1)), (4, 400, (0, 3))],
)
def test_kenlm_says_what_the_definition_says(
    order: int, sentences: int, prune: tuple[int, ...], tmp_path: Path
) -> None:
    corpus = _corpus(sentences)
    write_arpa(_train(corpus, order, prune), tmp_path / "model.arpa")
    read = _open(tmp_path / "model.arpa")
    limits = [*prune, *[prune[-1]] * order][:order]
    reference = Reference(corpus, order, limits)
    assert read.order == order
    for words in [*_corpus(60, seed=1), [11, 3, 11], [1, 1, 1, 1, 1, 1]]:
        scores = [score for score, _, _ in read.full_scores(" ".join(map(str, words)))]
        padded = ["<s>", *words, "</s>"]
        for place, score in enumerate(scores, start=1):
            context = tuple(padded[max(0, place - order + 1) : place])
            expected = math.log10(reference.probability(context, padded[place]))
            assert score == pytest.approx(expected, abs=2e-5), (words, place)


def test_the_counts_of_that_corpus_tell_discounts() -> None:
    assert all(discount != FALLBACK for discount in _train(_corpus(400), 5).discounts[2:])


@pytest.mark.parametrize("prune", [(0,), (0, 0, 1), (0, 2, 4)])
def test_what_may_follow_any_context_is_certain(prune: tuple[int, ...], tmp_path: Path) -> None:
    model = _train(_corpus(300), 4, prune)
    write_arpa(model, tmp_path / "model.arpa")
    read = _open(tmp_path / "model.arpa")
    spelled = [*map(str, range(VOCAB)), "<s>", "</s>"]
    possible = [*(spelled[word] for word in model.words(1)[model.estimates[0].kept, 0] if word != VOCAB), "<unk>"]
    contexts: list[list[int]] = [[]]
    for length in (1, 2, 3):
        contexts += model.words(length)[model.estimates[length - 1].kept].tolist()
    for context in [*contexts, [3, 11], [11], [11, 11, 3]]:
        if context[-1:] == [VOCAB + 1]:
            continue  # nothing follows an end
        state, after = kenlm.State(), kenlm.State()
        if context[:1] == [VOCAB]:
            read.BeginSentenceWrite(state)
        else:
            read.NullContextWrite(state)
        for word in context[context[:1] == [VOCAB] :]:
            read.BaseScore(state, spelled[word], after)
            state, after = after, state
        total = sum(10 ** read.BaseScore(state, word, after) for word in possible)
        assert total == pytest.approx(1, abs=2e-5), context


def test_pruned_runs_are_not_written(tmp_path: Path) -> None:
    corpus = _corpus(300)
    write_arpa(_train(corpus, 3, (0, 0, 2)), tmp_path / "model.arpa")
    raw = Reference(corpus, 3, [0, 0, 0]).raw
    lines = (tmp_path / "model.arpa").read_text().split("\\3-grams:\n")[1].split("\n\n")[0].splitlines()
    assert len(lines) == sum(len(run) == 3 and count > 2 for run, count in raw.items())
    assert f"ngram 3={len(lines)}\n" in (tmp_path / "model.arpa").read_text()


def test_windows_are_counted_in_chunks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = _corpus(200)
    windows, counts = _count(corpus)
    expected = Counter(
        tuple(padded[place : place + 4])
        for padded in ([*[VOCAB] * 3, *words, VOCAB + 1] for words in corpus)
        for place in range(len(padded) - 3)
    )
    assert dict(zip(map(tuple, windows.tolist()), counts.tolist(), strict=True)) == expected
    monkeypatch.setattr(ngram_counts, "_CHUNK", 20)
    again, counted = _count(corpus)
    assert np.array_equal(windows, again)
    assert np.array_equal(counts, counted)


def _count(corpus: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    counter = NgramCounter(4, VOCAB)
    for words in corpus:
        counter.add(words)
    return counter.finish()


def test_windows_of_a_large_vocabulary_take_several_integers() -> None:
    counter = NgramCounter(5, 1_000_000)
    for words in ([999_999, 0, 999_998], [999_999, 0, 999_997], [999_999, 0, 999_998]):
        counter.add(words)
    windows, counts = counter.finish()
    assert sorted(counts.tolist()) == [1, 1, 2, 2, 3, 3]
    assert len({tuple(window) for window in windows.tolist()}) == 6
