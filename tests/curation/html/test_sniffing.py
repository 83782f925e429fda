"""HTML is told by how it begins."""

import pytest

from mm1.curation.html.sniffing import begins_as_html, may_be_html

HTML = [
        b"<!DOCTYPE html>", b"<html>", b"\n\t <HTML lang=a>", b"\xef\xbb\xbf<head>", b"<!-- a > b --><p class=x>",
        b'<?xml version="1.0"?>\n<!doctype html>', "\ufeff<html>".encode("utf-16"), b"<!-- " + b"x" * 5000,
        "\ufeff<p>".encode("utf-16-be"), b"<br/>", b"<script>",
]  # fmt: skip


@pytest.mark.parametrize("data", HTML)
def test_html(data):
    assert begins_as_html(data) == (not data.endswith(b"x"))  # a comment that never ends within reach tells nothing


@pytest.mark.parametrize(
    "data",
    [b"", b"text <html>", b'<?xml version="1.0"?><rss>', b"<svg>", b"<pre-text", b"{}", b"%PDF", b"\x89PNG", b"<?php"],
)
def test_other_things(data):
    assert not begins_as_html(data)


@pytest.mark.parametrize(
    "text", ["Warning: line 3 <html><body>x", "text <html>", "<center><font>x", "<!doctype html>x"]
)
def test_what_is_called_html_need_not_begin_as_it(text):
    assert may_be_html(text)


@pytest.mark.parametrize("text", ["", "text", "<svg>", '{"a": "<html>"}', '<?xml version="1.0"?><rss><body>', "<a" * 9])
def test_what_is_called_html_and_is_not(text):
    assert not may_be_html(text)


def test_what_begins_as_html_may_be_html():
    """So nothing that a source takes for a page for its beginning is none to who reads it."""
    for data in HTML:
        if begins_as_html(data) and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            assert may_be_html(data.decode("utf-8-sig")), data
