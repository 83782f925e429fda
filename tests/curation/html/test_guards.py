"""Attributes that would cost the parser the square of their number."""

import pytest

from mm1.curation.html.guards import MAX_ATTRIBUTES, check_attributes
from mm1.curation.page import Dropped

TEXT = "<p>" + "x" * 50_000
MANY = {
    "plain": ("<div", " a{}=1"),
    "bare": ("<div", " a{}"),
    "slashes": ("<div", "/a{}"),
    "ends of tags in values": ("<div", ' a{}=">"'),
    "ends of tags in values, nothing between": ("<div ", "a{}='>'"),
    "beginnings of tags in values": ("<div", " a{}='<b>'"),
    "spaces around the sign": ("<div", '\na{} = ">"'),
    "a quote in a name": ("<div", ' b"{}=">"'),
    "of the body's further tags": ("<p", "><body a{}=1"),
    "of the root's further tags, in capitals": ("<p", '><HTML b{}=">"'),
}


def dropped(text: str) -> bool:
    try:
        check_attributes(text)
    except Dropped as error:
        return error.reason == "too_many_attributes"
    return False


@pytest.mark.parametrize(("start", "attribute"), MANY.values(), ids=MANY)
@pytest.mark.parametrize("before", ["", TEXT, "a < b, <a href='x' title=\"y>\">"])
def test_too_many(start: str, attribute: str, before: str) -> None:
    def text(count: int) -> str:
        return f"{before}{start}{''.join(attribute.format(at) for at in range(count))}>{TEXT}"

    assert dropped(text(MAX_ATTRIBUTES + 1))
    assert not dropped(text(MAX_ATTRIBUTES - 1))


@pytest.mark.parametrize(
    "text",
    [
        "<a href=x title='y'>x</a> " * 20_000,
        "<body bgcolor=white text='#000'>x" * 20_000,
        '<a title=x">x</a> <b class="y">y</b>' * 20_000,
        "x < y > z " * 20_000,
        "<!-- " + "a=1 " * 20_000 + "-->",
        "<p title='" + "a=1 " * 20_000 + "'>",
        "x " * 50_000,
    ],
)
def test_long_pages_that_are_as_others(text: str) -> None:
    assert not dropped(text)


def test_no_text_is_read_twice() -> None:
    """Tags without ends, each of which reaches to the end of the page: of a square this would take minutes."""
    for text in ("<a " + " " * 3_000, "<a b='c\" ", '<a b="', "<a ="):
        dropped(text * 4_000)
