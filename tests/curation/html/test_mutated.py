"""A thousand mutated real pages, and documents drawn at random: never more than a reason, never a word out of order."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.html import extract
from mm1.curation.html.words import word_set
from mm1.curation.page import Dropped, Extracted, ImageRef

PAGES = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "pages").rglob("*.html"))]
REASONS = {"empty", "not_html", "too_large", "too_deep", "too_many_attributes", "too_many_reopened", "undecodable"}
BOUND_SECONDS = 10
"""Far beyond what any of them takes: a guard against time that grows with the square."""


def truncated(page: bytes, rng: random.Random) -> bytes:
    return page[: rng.randrange(len(page))]


def beheaded(page: bytes, rng: random.Random) -> bytes:
    return page[rng.randrange(len(page)) :]


def flipped(page: bytes, rng: random.Random) -> bytes:
    data = bytearray(page)
    for _ in range(rng.choice([1, 30, 1000])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def nested(page: bytes, rng: random.Random) -> bytes:
    tag = rng.choice([b"div", b"b", b"table", b"ul", b"span", b"section class=nav", b"p", b"tr", b"figure", b"pre"])
    at = rng.randrange(len(page))
    return page[:at] + b"<" + tag + (b"><" + tag) * rng.choice([3, 100, 30_000]) + b">" + page[at:]


def nulled(page: bytes, rng: random.Random) -> bytes:
    data = bytearray(page)
    for _ in range(100):
        data.insert(rng.randrange(len(data)), 0)
    return bytes(data)


def recoded(page: bytes, rng: random.Random) -> bytes:
    codec = rng.choice(["utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp500", "shift_jis", "latin-1", "iso2022_jp"])
    return page.decode().encode(codec, "replace")


def swollen(page: bytes, rng: random.Random) -> bytes:
    at = page.find(b"<", rng.randrange(len(page))) + 1
    name = rng.choice([b"class", b"style", b"srcset", b"id", b"src", b"role", b"alt"])
    value = rng.choice([b"a ", b"nav-", b"width:1px;", b"(", b",", b"\xff", b"../", b"'"]) * 20_000
    return page[:at] + b"img " + name + b'="' + value + b'" <' + page[at:]


def spliced(page: bytes, rng: random.Random) -> bytes:
    other = rng.choice(PAGES)
    return page[: rng.randrange(len(page))] + other[rng.randrange(len(other)) :]


def unclosed(page: bytes, rng: random.Random) -> bytes:
    return page.replace(rng.choice([b"</div>", b"</a>", b"</p>", b'"', b">", b"</script>", b"</td>", b"-->"]), b"")


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    truncated, beheaded, flipped, nested, nulled, recoded, swollen, spliced, unclosed,
]  # fmt: skip


def checked(data: bytes, encoding: str = "") -> str:
    """What came of a page: nothing else than content that keeps its promises, or a known reason."""
    try:
        page = extract(data, "local:docs/a/page.html", encoding)
    except Dropped as dropped:
        return dropped.reason
    keeps_promises(page)
    return "page"


def keeps_promises(page: Extracted) -> None:
    assert page.blocks
    for block in page.blocks:
        if isinstance(block, ImageRef):
            assert block.url.startswith(("local:", "https://", "http://", "data:image/"))
            assert ".." not in block.url.removeprefix("local:").split("/") or not block.url.startswith("local:")
            continue
        block.text.encode()
        assert block.text.strip()
        assert "\0" not in block.text
        assert block.kind == "code" or block.text == " ".join(block.text.split())


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_mutated_pages(mutate: Callable[[bytes, random.Random], bytes]) -> None:
    rng = random.Random(f"mutated pages, {mutate.__name__}")
    outcomes: Counter[str] = Counter()
    start = time.process_time()
    for _ in range(112):
        outcomes[checked(mutate(rng.choice(PAGES), rng), rng.choice(["", "utf-8", "koi8-r"]))] += 1
    assert set(outcomes) <= {"page", *REASONS}
    assert outcomes["page"] or mutate is recoded
    assert time.process_time() - start < BOUND_SECONDS


@pytest.mark.parametrize(
    "page",
    [
        "<p class=caption><img src=http://x/a.png></p>" * 25_000,
        '<base href="http://x/' + "a/" * 50_000 + '">' + "<img src=a.png>" * 10_000,
    ],
    ids=["captions without words", "a long base"],
)
def test_time_does_not_grow_with_the_square(page: str) -> None:
    start = time.process_time()
    assert checked(b"<!doctype html>" + page.encode()) == "page"
    assert time.process_time() - start < BOUND_SECONDS


@given(st.binary(max_size=300), st.text(max_size=10))
def test_any_bytes(data: bytes, encoding: str) -> None:
    assert checked(data, encoding) in {"page", *REASONS}


NAMES = st.sampled_from(
    sorted(
        word_set(
            "div p b a ul li table tr td caption figure figcaption pre main nav section h1 span br hr img "
            "noscript picture select svg math template"
        )
    )
)
TOKENS = st.one_of(
    NAMES.map(lambda name: f"<{name} class={name} src=a.png>"),
    NAMES.map(lambda name: f"</{name}>"),
    st.sampled_from(["word ", "end. ", "x", "<", "&", "<!--", "-->"]),
)


@given(st.lists(TOKENS, max_size=40))
def test_any_tags_in_any_order(tokens: list[str]) -> None:
    assert checked(b"<html>" + "".join(tokens).encode()) in {"page", *REASONS}


SHAPES = st.sampled_from(
    [
        "<p>{}</p>",
        "<div>{}</div>",
        "<b>{}</b> ",
        "<ul><li>{}</ul>",
        "<h2>{}</h2>",
        "<pre>{}</pre>",
        "{}<br>",
        "<table><tr><td>{}<td>x</table>",
        "<blockquote>{}</blockquote>",
        "<p>a. <img src=/a.png> {}</p>",
    ]
)


@given(st.lists(SHAPES, min_size=1, max_size=20))
def test_every_word_once_and_in_order(shapes: list[str]) -> None:
    html = "<html><main>" + "".join(shape.format(f"w{at}") for at, shape in enumerate(shapes)) + "</main>"
    words = [word for word in extract(html.encode()).text.split() if word.startswith("w")]
    assert words == [f"w{at}" for at in range(len(shapes))]
