"""Addresses: as browsers resolve them on the web, and never out of the folder on disk."""

from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.html.urls import LONGEST_BASE, base_of, resolve

LOCAL = "local:docs/a/index.html"
WEB = "https://x.org/docs/a/index.html?q=1"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("img.png", "local:docs/a/img.png"),
        ("./b/../img.png", "local:docs/a/img.png"),
        ("../img.png", "local:docs/img.png"),
        ("/img.png", "local:img.png"),
        ("img.png?v=2#top", "local:docs/a/img.png"),
        ("two%20words.png", "local:docs/a/two%20words.png"),
        ("1%23%3F%25.png", "local:docs/a/1%23%3F%25.png"),
        ("n%C3%A4he.png", "local:docs/a/n%C3%A4he.png"),
        ("nähe.png", "local:docs/a/n%C3%A4he.png"),
        ("%ff.png", "local:docs/a/%FF.png"),
        ("..\\img.png", "local:docs/img.png"),
        ("../../../../../../etc/passwd", "local:etc/passwd"),
        ("%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "local:etc/passwd"),
        ("..%2f..%2f..%2f..%5c../etc/passwd", "local:etc/passwd"),
        ("%2fetc/passwd", "local:etc/passwd"),
        ("a%00b.png", "local:docs/a/ab.png"),
        ("//cdn.org/img.png", "https://cdn.org/img.png"),
        ("http://cdn.org/img.png", "http://cdn.org/img.png"),
        ("..", "local:docs"),
        ("/", ""),
    ],
)
def test_a_local_page(reference: str, expected: str) -> None:
    assert resolve(reference, LOCAL) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("img.png", "https://x.org/docs/a/img.png"),
        ("../../../img.png", "https://x.org/img.png"),
        ("//cdn.org/img.png", "https://cdn.org/img.png"),
        (" \n img.png\t ", "https://x.org/docs/a/img.png"),
        ("i\nmg.png", "https://x.org/docs/a/img.png"),
        ("two words.png", "https://x.org/docs/a/two%20words.png"),
        ("två.png?b=ö", "https://x.org/docs/a/tv%C3%A5.png?b=%C3%B6"),
        ("already%20so.png", "https://x.org/docs/a/already%20so.png"),
        ("img.png#part", "https://x.org/docs/a/img.png"),
        ("HTTP://X.org/a.png", "http://X.org/a.png"),
        ("https://x.org", "https://x.org/"),
    ],
)
def test_a_page_of_the_web(reference: str, expected: str) -> None:
    assert resolve(reference, WEB) == expected


@pytest.mark.parametrize("base", [LOCAL, WEB, ""])
@pytest.mark.parametrize(
    "reference",
    [
        "",
        "  ",
        "#",
        "#top",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "local:etc/passwd",
        "LOCAL:etc/passwd",
        "ftp://x.org/a.png",
        "about:blank",
        "blob:https://x.org/1",
        "data:text/html,<p>",
        "C:\\a.png",
        "http://[",
        "http://",
        "https:///a.png",
    ],
)
def test_what_is_no_address_of_an_image(reference: str, base: str) -> None:
    assert resolve(reference, base) == ""


def test_images_in_the_address_itself() -> None:
    data = "data:image/png;base64,iVBORw0KGgo="
    assert resolve(data, "") == resolve(data, LOCAL) == resolve(data, WEB) == data


def test_without_a_base_only_absolute_addresses_count() -> None:
    assert resolve("img.png", "") == ""
    assert resolve("https://x.org/img.png", "") == "https://x.org/img.png"


@pytest.mark.parametrize(
    ("url", "href", "expected"),
    [
        (WEB, None, WEB),
        (WEB, "/root/", "https://x.org/root/"),
        (WEB, "http://[", WEB),
        (WEB, "javascript:1", WEB),
        (WEB, "local:a/", WEB),
        (LOCAL, "../b/", "local:docs/b/"),
        (LOCAL, "https://x.org/d/", "https://x.org/d/"),
        ("", "https://x.org/d/", "https://x.org/d/"),
    ],
)
def test_base_href(url: str, href: str | None, expected: str) -> None:
    assert base_of(url, href) == expected


def test_a_base_too_long_to_be_joined_to_each_image_counts_for_nothing() -> None:
    href = "https://x.org/"
    longest = href + "a" * (LONGEST_BASE - len(href))
    assert base_of(WEB, longest) == longest
    assert base_of(WEB, longest + "a") == WEB


def test_what_stands_in_a_folder_that_base_names() -> None:
    assert resolve("img.png", base_of(LOCAL, "../b/")) == "local:docs/b/img.png"


def test_folders_of_a_local_page_are_spelled_as_their_walk_spells_them() -> None:
    assert resolve("b c.png", "local:a%20%23%25/%FF/p.html") == "local:a%20%23%25/%FF/b%20c.png"
    assert resolve("../b.png", "local:a%20%23%25/%FF/p.html") == "local:a%20%23%25/b.png"


@given(st.lists(st.sampled_from(["..", ".", "a", "b c", "%2e%2e", "%2F", "\\", "", "%00", "~"]), max_size=12))
def test_nothing_leaves_the_folder(parts: list[str]) -> None:
    found = resolve("/".join(parts), LOCAL)
    assert found == "" or found.startswith(("local:", "https://"))
    if found.startswith("local:"):
        path = found.removeprefix("local:")
        assert not path.startswith("/")
        assert "\\" not in path
        assert "\0" not in path
        assert all(part not in ("..", ".", "") for part in path.rstrip("/").split("/"))


@given(st.lists(st.sampled_from(["..", ".", "a", "b.png", "c"]), min_size=1, max_size=6))
def test_relative_addresses_as_the_standard_library_joins_them(parts: list[str]) -> None:
    reference = "/".join(parts)
    assert resolve(reference, WEB) == urljoin(WEB, reference)


@given(st.text(max_size=60), st.sampled_from([LOCAL, WEB, ""]))
def test_any_text(reference: str, base: str) -> None:
    found = resolve(reference, base)
    assert found == "" or found.startswith(("http://", "https://", "local:", "data:image/", "DATA:"))
