"""HTML is told by how it begins."""

import pytest

from mm1.curation.sources.sniffing import looks_like_html


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html>", b"<html>", b"\n\t <HTML lang=a>", b"\xef\xbb\xbf<head>", b"<!-- a > b --><p class=x>",
        b'<?xml version="1.0"?>\n<!doctype html>', "\ufeff<html>".encode("utf-16"), b"<!-- " + b"x" * 5000,
        "\ufeff<p>".encode("utf-16-be"), b"<br/>", b"<script>",
    ],
)  # fmt: skip
def test_html(data):
    assert looks_like_html(data) == (not data.endswith(b"x"))  # a comment that never ends within reach tells nothing


@pytest.mark.parametrize(
    "data",
    [b"", b"text <html>", b'<?xml version="1.0"?><rss>', b"<svg>", b"<pre-text", b"{}", b"%PDF", b"\x89PNG", b"<?php"],
)
def test_other_things(data):
    assert not looks_like_html(data)
