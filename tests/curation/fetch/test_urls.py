"""Addresses that strangers wrote are read in one strict way."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from mm1.curation.fetch.config import MAX_URL
from mm1.curation.fetch.failed import Failed
from mm1.curation.fetch.urls import parse_url, resolve_location


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("https://a.example/x.png?w=1#part", "https://a.example/x.png?w=1"),
        (" HTTP://A.Example:80 \n", "http://a.example/"),
        ("http://a.example:/x", "http://a.example/x"),
        ("https://a.example.:443/x", "https://a.example/x"),
        ("http://bücher.example/ü b", "http://xn--bcher-kva.example/%C3%BC%20b"),
        ("http://a.example/100%/%41?q=ä b%20", "http://a.example/100%/%41?q=%C3%A4%20b%20"),
        ("http://a.example/a/../b/./%2e%2E/c/..", "http://a.example/"),
        ("http://a.example/../../x", "http://a.example/x"),
        ("http://a.example\\x\\y?z\\w", "http://a.example/x/y?z%5Cw"),
        ("http://a.example?x", "http://a.example/?x"),
        ("ht\ntp://a.exa\tmple/x", "http://a.example/x"),
        ("http://my_site.a-b.example/", "http://my_site.a-b.example/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://[2001:0DB8::0001]/", "http://[2001:db8::1]/"),
        ("http://１２７.0.0.1/", "http://127.0.0.1/"),  # seen for what it is, and refused when it is connected to
        ("http://a.example/\ud800", "http://a.example/%EF%BF%BD"),
    ],
)
def test_what_is_asked_for(text: str, asked: str) -> None:
    assert str(parse_url(text)) == asked


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file:///etc/passwd", "not_http"),
        ("ftp://a.example/x", "not_http"),
        ("data:image/png;base64,AAAA", "not_http"),
        ("javascript:alert(1)", "not_http"),
        ("local:a/b.png", "not_http"),
        ("", "bad_url"),
        ("/x.png", "bad_url"),
        ("//a.example/x.png", "bad_url"),
        ("http:x", "bad_url"),
        ("http:///x", "bad_url"),
        ("http://me:secret@a.example/", "credentials"),
        ("http://me@a.example/", "credentials"),
        ("http://@a.example/", "credentials"),
        ("http://a.example:80@127.0.0.1/", "credentials"),
        ("http://a.example:22/", "bad_port"),
        ("http://a.example:0/", "bad_port"),
        ("http://a.example:99999/", "bad_port"),
        ("http://a.example:８0/", "bad_port"),
        ("http://a.example:x/", "bad_port"),
        ("http://2130706433/", "bad_host"),
        ("http://0x7f000001/", "bad_host"),
        ("http://0x7f.1/", "bad_host"),
        ("http://0177.0.0.1/", "bad_host"),
        ("http://127.1/", "bad_host"),
        ("http://127.0.0.1.1/", "bad_host"),
        ("http://1.2.3.4.5/", "bad_host"),
        ("http://a.b.1/", "bad_host"),
        ("http://[::1%25eth0]/", "bad_host"),
        ("http://[::1/", "bad_host"),
        ("http://::1/", "bad_host"),
        ("http://[1.2.3.4]/", "bad_host"),
        ("http://a%2eexample/", "bad_host"),
        ("http://a b.example/", "bad_host"),
        ("http://a..example/", "bad_host"),
        ("http://-a.example/", "bad_host"),
        ("http://.../", "bad_host"),
        ("http://☃☃☃.­/", "bad_host"),
        ("http://a\u2044b.example/", "bad_host"),
        (f"http://{'ä' * 300}.example/", "bad_host"),
        (f"http://{'a' * 64}.example/", "bad_host"),
        (f"http://a.example/{'x' * 9000}", "url_too_long"),
    ],
)
def test_what_is_not_asked_for(text: str, reason: str) -> None:
    with pytest.raises(Failed) as failure:
        parse_url(text)
    assert failure.value.reason == reason


def test_more_ports_can_be_allowed() -> None:
    assert parse_url("http://a.example:8080/", (80, 443, 8080)).port == 8080


@given(
    st.text()
    | st.text().map("http://".__add__)
    | st.binary().map(lambda raw: "http://a.example/" + raw.decode("latin-1"))
)
@example("http://a.example\\@127.0.0.1/")
@example("http://a.example#@127.0.0.1/")
def test_whatever_is_accepted_means_one_host_to_every_reader(text: str) -> None:
    try:
        url = parse_url(text)
    except Failed:
        return
    plain = str(url)
    assert plain.isascii()
    assert plain == plain.strip()
    assert str(parse_url(plain)) == plain
    assert urlsplit(plain).hostname == (url.raw_host or "").strip("[]") == URL(plain).raw_host


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("x.png", "http://a.example/dir/x.png"),
        ("/x.png", "http://a.example/x.png"),
        ("//b.example/x", "http://b.example/x"),
        ("\\\\b.example\\x", "http://b.example/x"),
        ("?q", "http://a.example/dir/page?q"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("/gr\u00fcn", "http://a.example/gr\u00fcn"),
        ("/gr\udcfcn", "http://a.example/gr\u00fcn"),  # Latin-1, as aiohttp hands it over
    ],
)
def test_where_a_redirect_leads(location: str, text: str) -> None:
    assert resolve_location(location, parse_url("http://a.example/dir/page")) == text


def test_a_location_that_is_no_address() -> None:
    with pytest.raises(Failed, match="bad_url"):
        resolve_location("http://[x", parse_url("http://a.example/"))


def test_what_is_stripped_counts_for_the_length() -> None:
    """The address as it was given is written down, in lines of bounded length."""
    with pytest.raises(Failed, match="url_too_long"):
        parse_url("https://a.example/" + "\n" * MAX_URL)
