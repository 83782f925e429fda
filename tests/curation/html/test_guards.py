"""Attributes and addresses that would cost the square of their number or length."""

import pytest

from mm1.curation.html import extract
from mm1.curation.html.guards import MAX_ADDRESSES, MAX_ATTRIBUTES, check_attributes
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


@pytest.mark.parametrize("image", ["<img src=a>", "<IMG\nsrc=a>", "<image/src=a>", "x<img src=a>"])
def test_images_that_would_all_get_a_long_address(image: str) -> None:
    base = "https://a.example/" + "d/" * 3_500
    page = f"<!doctype html><base href={base}><p>One.</p>{{}}"
    most = MAX_ADDRESSES // len(base)
    with pytest.raises(Dropped, match="too_large"):
        extract(page.format(image * (most + 1)).encode())
    few = extract(page.format("<p>Two.</p><img src=b>").encode())
    assert [found.url for found in few.images] == [f"{base}b"]


def test_as_many_images_with_an_address_as_others_are_read() -> None:
    page = "<!doctype html><base href=https://a.example/d/><p>One.</p>" + "<img src=a>" * 10_000
    assert len(extract(page.encode()).images) == 10_000
