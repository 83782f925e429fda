"""Text is escaped, and numbers read well."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.report.markup import DASH, HOLD, Markup, bar, count, duration, escape, exact, percent, points, tag


class Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_comes_back_as_the_same_text_and_nothing_else(text: str) -> None:
    read = Reader(tag("p", text, title=text))
    assert read.found == [("p", {"title": text})]
    assert read.text == text


def test_markup_stays_and_a_changed_markup_does_not() -> None:
    inner = tag("b", "x")
    assert tag("p", inner, class_="a", aria_label="l", id=None) == '<p class="a" aria-label="l"><b>x</b></p>'
    assert escape(inner) is inner
    assert not isinstance(inner + "<i>", Markup), "what str methods give back is text again"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (999, "999"), (1234, "1 234"), (12_345, "12.3 k"), (1_240_000, "1.24 M"), (3e10, "30.0 B"),
     (0.00123, "0.00123"), (2.5, "2.5"), (float("nan"), "–"), (None, "–")],
)  # fmt: skip
def test_count(number: float | None, expected: str) -> None:
    assert count(number) == expected.replace(" ", HOLD)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (8.26, "8.3 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (312, "5 min 12 s"), (7500, "2 h 5 min"),
     (273_600, "3 d 4 h"), (float("inf"), "–")],
)  # fmt: skip
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected.replace(" ", HOLD)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0, "0.0 %"), (1e-9, "< 0.1 %"), (0.0005, "0.1 %"), (0.975, "97.5 %"), (0.9994, "99.9 %"), (0.9996, "> 99.9 %"),
     (1, "100.0 %"), (None, DASH), (float("nan"), DASH)],
)  # fmt: skip
def test_a_share_is_told_as_nothing_or_all_only_if_it_is(fraction: float | None, expected: str) -> None:
    assert percent(fraction) == expected.replace(" ", HOLD)


@given(st.integers(0, 10**15))
def test_no_line_ends_within_a_number(number: int) -> None:
    assert exact(number).replace(HOLD, "") == str(number)
    for said in (exact(number), count(number), duration(number), percent(number / 10**15)):
        assert "".join(said.split()) in (said, said.replace(HOLD, "")), "no other space"


def test_pieces_of_a_bar_are_as_long_as_their_shares_and_nothing_has_none() -> None:
    pieces = Reader(bar([("c0", 0.5), ("c1", 0.0), ("c2", 0.0001)], "said")).found[1:]
    assert pieces == [("i", {"class": "c0", "style": "width:50.00%"}), ("i", {"class": "c2", "style": "width:0.01%"})]


def test_points_are_signed_with_a_minus() -> None:
    assert (points(0.9126), points(-0.02, sign=True), points(0.783, sign=True)) == ("91.3", "−2.0", "+78.3")
