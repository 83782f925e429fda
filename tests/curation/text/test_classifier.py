"""The linear classifier: learns, repeats itself bit by bit, and the rule of chance has GPT-3's distribution."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from mm1.config import UserError
from mm1.curation.text import classifier
from mm1.curation.text.characters import hash_words
from mm1.curation.text.classifier import Classifier, Features, area_under_curve, chosen, features, load, train


def _texts(kind: str, count: int, seed: int) -> list[Features]:
    """Texts of common words, one in eight of the kind's own."""
    draw = random.Random(seed)
    own, common = [f"{kind}{n}" for n in range(40)], [f"w{n}" for n in range(400)]
    return [
        features(hash_words(" ".join(draw.choice(own if draw.random() < 0.125 else common) for _ in range(60))))
        for _ in range(count)
    ]


def test_good_texts_score_above_raw_ones() -> None:
    judge = train(_texts("good", 80, 0), _texts("raw", 300, 1))
    good, raw = ([judge.score(text) for text in _texts(kind, 100, 2)] for kind in ("good", "raw"))
    assert area_under_curve(good, raw) > 0.97
    assert np.mean(good) > 0.6 > 0.4 > np.mean(raw)  # though raw ones were four times as many


def test_training_repeats_itself_and_hardly_knows_an_order() -> None:
    good, raw = _texts("good", 40, 0), _texts("raw", 40, 1)
    once, again, turned = train(good, raw), train(good, raw), train(good[::-1], raw[::-1])
    assert np.array_equal(once.weights, again.weights)
    assert once.bias == again.bias
    assert np.allclose(once.weights, turned.weights, atol=1e-5)


def test_the_weights_are_at_the_bottom_of_the_loss() -> None:
    good, raw = _texts("good", 30, 0), _texts("raw", 50, 1)
    judge = train(good, raw)

    def loss(weights: np.ndarray, bias: float) -> float:
        logits = [[(weights[text.buckets] * text.values).sum() + bias for text in texts] for texts in (good, raw)]
        fit = np.mean(np.logaddexp(0, -np.array(logits[0]))) / 2 + np.mean(np.logaddexp(0, np.array(logits[1]))) / 2
        return float(fit + classifier._DECAY / 2 * (weights**2).sum())

    weights = judge.weights.astype(np.float64)
    least = loss(weights, judge.bias)
    assert least < 0.1
    assert loss(np.zeros_like(weights), 0) == pytest.approx(np.log(2))
    for shift in (-0.5, 0.5):
        assert loss(weights, judge.bias + shift) > least


def test_features_have_unit_length_and_are_the_same_everywhere() -> None:
    found = features(hash_words("the cat the dog"))
    assert np.linalg.norm(found.values) == pytest.approx(1)
    the = int(hash_words("the").hashes[0] >> np.uint64(46))
    assert the == 11469020329213407588 >> 46
    value = dict(zip(found.buckets.tolist(), found.values.tolist(), strict=True))
    assert value.pop(the) == pytest.approx((1 + np.log(2)) * next(iter(value.values())))
    assert found.buckets.max() < classifier.BUCKETS


def test_the_rule_of_chance_is_numpys_pareto() -> None:
    for score in (0.0, 0.5, 0.9, 0.99):
        share = np.mean([chosen(f"page-{number}", score) for number in range(20_000)])
        assert share == pytest.approx((2 - score) ** -9, abs=0.012)
    drawn = np.random.default_rng(0).pareto(9, 20_000)
    assert np.mean(drawn > 0.1) == pytest.approx((2 - 0.9) ** -9, abs=0.012)


def test_a_better_score_never_drops_what_a_worse_one_keeps() -> None:
    for number in range(300):
        kept = [chosen(str(number), score) for score in (0, 0.3, 0.6, 0.9, 1)]
        assert kept == sorted(kept)


def test_a_choice_depends_on_nothing_but_id_and_score() -> None:
    assert [number for number in range(12) if chosen(f"page-{number}", 0.9)] == [1, 2, 3, 7, 8, 9, 10]
    assert chosen("\ud800", 1) in (True, False)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    judge = Classifier(np.arange(classifier.BUCKETS, dtype=np.float32), -0.5)
    judge.save(tmp_path / "classifier.safetensors")
    read = load(tmp_path / "classifier.safetensors")
    assert np.array_equal(read.weights, judge.weights)
    assert read.bias == -0.5


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", b"\0" * 100])
def test_what_is_no_classifier_is_one_sentence(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="is no classifier"):
        load(tmp_path / "file")


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    Classifier(np.zeros(5, np.float32), 0).save(tmp_path / "file")
    with pytest.raises(UserError, match=r"shape \(5,\)"):
        load(tmp_path / "file")


def test_area_counts_ties_half() -> None:
    assert area_under_curve([1, 2], [0, 0]) == 1
    assert area_under_curve([1, 2], [1, 3]) == pytest.approx((0.5 + 0 + 1 + 0) / 4)
