"""Text is escaped, and numbers read well."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.report.markup import Markup, count, duration, escape, points, tag


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
    assert count(number).replace("\u2009", " ") == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (8.26, "8.3 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (312, "5 min 12 s"), (7500, "2 h 5 min"),
     (273_600, "3 d 4 h"), (float("inf"), "–")],
)  # fmt: skip
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_points_are_signed_with_a_minus() -> None:
    assert (points(0.9126), points(-0.02, sign=True), points(0.783, sign=True)) == ("91.3", "−2.0", "+78.3")
