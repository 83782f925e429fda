"""Counts that do not add up are never written down, and parts add to the whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.funnel import Counts, Funnel, Unbalanced

outcomes = st.lists(st.sampled_from(["", "too_large", "empty", "status_4xx"]), max_size=40)


def counted(outcomes):
    counts = Counts()
    for reason in outcomes:
        counts.enter()
        counts.drop(reason) if reason else counts.keep()
    return counts


@given(st.lists(outcomes, max_size=6))
def test_parts_add_up_to_what_the_whole_would_count(parts):
    whole = counted([outcome for part in parts for outcome in part])
    assert sum(map(counted, parts), Counts()).to_json() == whole.to_json()
    assert Counts.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_the_json_is_what_the_issue_says():
    counts = counted(["", "empty", "", "too_large", "empty"])
    assert Funnel().then("extract", "page", counts).to_json() == {
        "steps": [{"name": "extract", "unit": "page", "in": 5, "out": 2, "dropped": {"empty": 2, "too_large": 1}}]
    }


@pytest.mark.parametrize("mistake", ["enter", "keep", "drop"])
def test_one_thing_too_many_or_too_few_is_never_written(mistake):
    counts = counted(["", "empty"])
    getattr(counts, mistake)(*["empty"] * (mistake == "drop"))
    with pytest.raises(Unbalanced, match=r"came in, but .* were kept"):
        counts.to_json()
    with pytest.raises(Unbalanced, match=r"extract \(page\)"):
        Funnel().then("extract", "page", counts)


def test_a_negative_count_does_not_hide_another():
    counts = Counts(entered=1, kept=2)
    counts.drop("empty", -1)
    with pytest.raises(Unbalanced):
        counts.check()


def test_a_unit_goes_on_with_what_the_step_before_left():
    funnel = Funnel().then("extract", "page", counted(["", "", "empty"])).then("fetch", "image", counted([""] * 9))
    assert [step.name for step in funnel.then("rules", "page", counted(["", "empty"])).steps] == [
        "extract",
        "fetch",
        "rules",
    ]
    with pytest.raises(Unbalanced, match=r"rules \(page\): 3 came in, but extract had left 2"):
        funnel.then("rules", "page", counted(["", "", ""]))


def test_a_funnel_that_was_changed_by_hand_is_not_read():
    values = Funnel().then("extract", "page", counted(["", "empty"])).to_json()
    assert Funnel.from_json(values).to_json() == values
    values["steps"][0]["out"] = 2
    with pytest.raises(Unbalanced):
        Funnel.from_json(values)


@pytest.mark.parametrize("reason", ["", "Too large", "too large", "a-b", "_a", "a__b", "<b>"])
def test_a_reason_is_a_few_words_fit_for_counting(reason):
    with pytest.raises(AssertionError):
        Counts().drop(reason)
