"""What is said of scores: gains that intervals allow, and what a model that sees nothing reaches."""

from __future__ import annotations

from pathlib import Path

from mm1.chain.page.results import Run, Score
from mm1.chain.page.scores import best_gain


def score(task: str, shots: int, mean: float, chance: float | None = None, blind: float | None = None) -> Score:
    return Score(task, shots, mean, mean - 0.1, mean + 0.1, 9, chance, blind, "exact match", {})


def run(*scores: Score) -> Run:
    return Run(Path("run"), {}, (), scores, (), Path("run/eval"))


def test_a_gain_within_the_intervals_is_no_gain() -> None:
    assert best_gain(run(score("a", 0, 0.4), score("a", 4, 0.55))) is None
    assert best_gain(run(score("a", 4, 0.9))) is None, "never asked without shots"


def test_the_largest_certain_gain_at_its_best_number_of_shots() -> None:
    scores = [score("a", 0, 0.1), score("a", 4, 0.5), score("a", 8, 0.45), score("b", 0, 0.2), score("b", 8, 0.5)]
    gain = best_gain(run(*scores))
    assert gain is not None
    assert (gain.after.task, gain.after.shots) == ("a", 4)


def test_seeing_is_to_clear_both_chance_and_blind() -> None:
    assert score("a", 0, 0.5, chance=0.3, blind=0.39).sees
    assert not score("a", 0, 0.5, chance=0.41, blind=0.1).sees
    assert not score("a", 0, 0.5, chance=0.1, blind=0.41).sees
    assert not score("a", 0, 0.1).sees, "an interval that reaches 0"
