"""Pages made to cost the parser the square of their length, and pages that only look like them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.html import nesting
from mm1.curation.html.nesting import MAX_DEPTH, check_nesting
from mm1.curation.html.parser import parse
from mm1.curation.page import Dropped

DEEP = {
    "no end": "<div>",
    "end of another": "<div></span>",
    "end in an attribute": '<div a="</div>">',
    "end in a comment": "<div><!--</div>-->",
    "end in a script": "<div><script></div></script>",
    "end out of scope": "<div><marquee></div></marquee>",
    "end in a select": "<div><select></div></select>",
    "what ends its like, in turn": "<li><h1>",
    "items of two lists": "<li><dd>",
    "tables": "<table><td>",
    "capitals": "<DIV>",
    "what is read no more": "<template>",
}
FORMATS = {
    "no end": "<b id={}>",
    "end in an attribute": '<b a="</b>{}">',
    "end in a comment": "<font size={}><!--</font>-->",
    "end behind a block": "<b id={}><section></b></section>",
    "end of another": "<i id={}></b>",
    "capitals": "<STRIKE id={}>",
    "an end that only looks like one": "<s id={}></\u017f>",
}


def reason(text: str) -> str:
    try:
        check_nesting(text)
    except Dropped as dropped:
        return dropped.reason
    return ""


@pytest.mark.parametrize("part", DEEP.values(), ids=DEEP)
def test_too_deep(part: str) -> None:
    assert reason("<!doctype html><body>" + part * (2 * MAX_DEPTH)) == "too_deep"


def test_what_a_later_piece_nests_counts() -> None:
    assert reason("<p>x" * 40_000 + "<div>" * (MAX_DEPTH + 1)) == "too_deep"
    assert reason(("<div>" * (MAX_DEPTH // 4) + "x" * 70_000) * 5) == "too_deep"


@pytest.mark.parametrize("part", FORMATS.values(), ids=FORMATS)
def test_formatting_that_would_be_opened_again_and_again(part: str) -> None:
    text = "<p>" + "".join(part.format(at) for at in range(600)) + "</p>" + "<p>x" * 4_000
    assert reason(text) == "too_many_reopened"


def test_how_much_the_parser_adds_is_bounded() -> None:
    """Of what passes: at the limit of few elements, and at that of what is opened again."""
    for formats, paragraphs in ((480, 480), (100, 10_000)):
        text = "<p>" + "".join(f"<b id={at}>" for at in range(formats)) + "</p>" + "<p>x" * paragraphs
        assert reason(text) == ""
        added = len(parse(text).css("b")) - formats
        assert 0.9 * formats * paragraphs <= added <= nesting.MAX_REOPENED


@pytest.mark.parametrize(
    "part",
    [
        "<div><p>x</div>",
        "<li>x",
        "<dt>x<dd>y",
        "<tr><td>x<td>y",
        "<p><b>x</p>",
        "<h2>x</h2><section><!-- </section> --></section>",
        '<p><code class="a b"><span class="pre">x</span></code> and <em title=">">x</em>',
        "<font color=red><p>x<br><a href='/?a=b'>y</a></font>",
        "<FONT COLOR='#f00'><I>x</I></FONT>",
        '<span class=a><b class="x"><i class=y>x</i></b></span>',
        "<script>'<div>'</script>",
    ],
)
def test_long_pages_that_are_as_others(part: str) -> None:
    assert reason("<!doctype html><body>" + part * 10_000) == ""


@pytest.mark.parametrize(
    "cut", ["<div class=", '<div class="a', "<div class='a", "<div", "<!-- ", "<script>if (a <", "<svg><g>"]
)
def test_a_piece_may_end_anywhere(cut: str) -> None:
    """As one that ends where it may, but for the element that was being written."""
    text = "<div><span>" * 100
    assert 200 <= nesting._left_open(text + "<p>x</p>" * 500 + cut) <= 202


def test_elements_of_a_template_count_as_others() -> None:
    assert nesting._left_open("<p>x</p><template><div></div><section>" * 100) == 200


def test_a_piece_can_not_begin_as_a_page_of_frames() -> None:
    assert nesting._left_open("<frameset>" + "<div>" * 300) == 300


def test_a_page_can_not_name_the_place_that_is_looked_for() -> None:
    assert nesting._left_open("<i id=mm1></i><i ID=MM11></i>" + "<div>" * 300) == 300


TAGS = ["div", "span", "b", "i", "p", "li", "h1", "ul", "marquee", "section", "a", "form", "font"]


@given(st.lists(st.sampled_from([*(f"<{tag}>" for tag in TAGS), *(f"</{tag}>" for tag in TAGS), "x"]), max_size=200))
def test_pieces_leave_no_less_open_than_the_whole(tokens: list[str]) -> None:
    """But for the paragraph that the end of a piece may end."""
    pieces = ["".join(tokens[at : at + 10]) for at in range(0, len(tokens), 10)]
    assert nesting._left_open("".join(tokens)) <= sum(map(nesting._left_open, pieces)) + len(pieces)
