"""What is said of a chart is true of its numbers, and can be read off it."""

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.chart import KINDS, QUESTIONS, STEP, ask, askable, sample_chart
from mm1.data.synthetic.scenes import split_of

seeds = st.integers(0, 10**9)


@settings(max_examples=150)
@given(seed=seeds, split=st.sampled_from(["train", "test"]))
def test_numbers_can_be_read_and_have_one_order(seed, split):
    chart = sample_chart(random.Random(seed), split)
    assert split_of(chart.content) == split
    assert len(set(chart.labels)) == len(set(chart.values)) == len(chart.values) == len(chart.colours)
    assert all(value % (STEP // 2) == 0 and 0 < value <= 100 for value in chart.values)
    if chart.kind == "pie":
        assert sum(chart.values) == 100
        assert len(set(chart.colours)) == len(chart.colours)


@settings(max_examples=200)
@given(seed=seeds, kind=st.sampled_from(sorted(QUESTIONS)))
def test_answers_are_those_of_the_numbers(seed, kind):
    rng = random.Random(seed)
    chart = sample_chart(rng, "train", lambda chart: askable(chart, kind))
    value = dict(zip(chart.labels, chart.values, strict=True))
    question, answer, chance = ask(chart, kind, rng)
    named = [label for label in chart.labels if re.search(rf"\b{label}\b", question)]
    expected = {
        "kind": lambda: chart.kind,
        "count": lambda: words.COUNTS[len(value) - 1],
        "value": lambda: str(value[named[0]]),
        "largest": lambda: (max if "largest" in question else min)(value, key=value.get),
        "compare": lambda: max(named, key=value.get),
        "difference": lambda: str(abs(value[named[0]] - value[named[1]])),
    }[kind]()
    assert answer == expected
    assert chance == {"kind": 1 / 4, "count": 1 / 4, "largest": 1 / len(value), "compare": 1 / 2}.get(kind, 0)


def test_a_pie_is_asked_for_values_only_where_they_are_written():
    charts = [sample_chart(random.Random(seed), "train") for seed in range(300)]
    assert {chart.kind for chart in charts} == set(KINDS)
    for chart in charts:
        silent = chart.kind == "pie" and not chart.values_shown
        assert askable(chart, "value") != silent
        assert askable(chart, "compare")
        # Its caption, too, says no more than can be read.
        assert all((str(value) in chart.caption) != silent for value in chart.values)
        assert all(label in chart.caption for label in chart.labels)
