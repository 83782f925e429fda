"""A folder's pages in one order, and addresses that never lead out of it."""

import os
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.html import extract
from mm1.curation.page import Dropped, Page
from mm1.curation.sources.folder import is_page, read_folder, read_local, walk


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.png").write_bytes(b"secret")
    root = outside / "site"
    for name, data in {
        "index.html": b"<html>1",
        "b/page.HTM": b"<html>2",
        "b/a b?x=1#y%.html": b"<html>3",
        "b/\u00fc.png": b"picture",
        "a.png": b"a",
        "no-suffix": b"<!DOCTYPE html>",
        "page.php": b"<html>",
        "script.php": b"<?php echo 1",
        "notes.txt": b"<html>",
        ".hidden/x.html": b"<html>",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "in.png").symlink_to(root / "a.png")
    (root / "out.png").symlink_to(outside / "secret.png")
    (root / "ring").symlink_to(root)
    (root / "away").symlink_to(outside)
    (root / "gone.png").symlink_to(root / "nothing")
    os.mkfifo(root / "pipe.png")
    return root


def reason(root, url, **limits):
    with pytest.raises(Dropped) as caught:
        read_local(root, url, **limits)
    return caught.value.reason


def test_the_walk_is_ordered_and_leaves_out_hidden_things_and_linked_folders(site):
    names = list(walk(site))
    assert names == [
        "a.png", "in.png", "index.html", "no-suffix", "notes.txt", "out.png", "page.php", "script.php",
        "b/a%20b%3Fx%3D1%23y%25.html", "b/page.HTM", "b/%C3%BC.png",
    ]  # fmt: skip
    assert [name for name in names if is_page(site, name)] == [
        "index.html", "no-suffix", "page.php", "b/a%20b%3Fx%3D1%23y%25.html", "b/page.HTM"
    ]  # fmt: skip


def test_pages_have_addresses_that_lead_back_to_them(site):
    names = tuple(name for name in walk(site) if is_page(site, name))
    pages = list(read_folder(site, names, "site", 100))
    assert pages[0] == Page("site/index.html", "local:index.html", b"<html>1")
    assert [read_local(site, page.url) for page in pages] == [page.html for page in pages]
    assert len({page.id for page in pages}) == 5


def test_a_large_and_a_vanished_page_are_drops(site):
    items = list(read_folder(site, ("index.html", "page.php", "nothing.html", "../secret.png"), "site", 6))
    assert [getattr(item, "reason", "page") for item in items] == ["too_large", "page", "missing", "outside_folder"]


@pytest.mark.parametrize(
    "url",
    [
        "local:../secret.png", "local:b/../../secret.png", "local:%2e%2e/secret.png", "local:b/..%2f..%2fsecret.png",
        "local:/etc/passwd", "local:%2Fetc/passwd", "local:out.png", "local:away/secret.png", "local:a.png%00",
        "local:b/../index.html",
    ],
)  # fmt: skip
def test_nothing_outside_the_folder_is_read(site, url):
    assert reason(site, url) == "outside_folder"


@pytest.mark.parametrize(
    "url", ["local:", "local:b", "local:nothing.png", "local:gone.png", "local:pipe.png", "local:" + "a" * 5000]
)
def test_what_is_no_regular_file_is_missing(site, url):
    assert reason(site, url) == "missing"


def test_queries_fragments_and_links_within_the_folder(site):
    assert read_local(site, "local:a.png?v=1#top") == b"a"
    assert read_local(site, "local:./b//%c3%bc.png") == b"picture"
    assert read_local(site, "local:in.png") == b"a"


def test_a_large_file_is_not_read(site):
    assert read_local(site, "local:a.png", max_bytes=1) == b"a"
    assert reason(site, "local:b/%C3%BC.png", max_bytes=6) == "too_large"


pieces = st.sampled_from(["..", ".", "/", "%2e", "%2f", "secret.png", "a.png", "b", "away", "ring", "%00", "\\"])


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces))
def test_no_address_whatsoever_gives_the_secret(site, parts):
    try:
        data = read_local(site, "local:" + "".join(parts))
    except Dropped as drop:
        data = drop.reason
    assert data in (b"a", b"picture", "outside_folder", "missing")


def test_a_link_to_itself_is_no_file(tmp_path):
    (tmp_path / "a.html").write_text("<p>")
    (tmp_path / "loop.html").symlink_to("loop.html")
    assert list(walk(tmp_path)) == ["a.html"]


@pytest.mark.parametrize("name", ["a b.png", "a%20b.png", "a#b.png", "a?b.png", "nähe.png", "100%.png", "a+b&c.png"])
def test_a_picture_is_found_by_the_address_that_its_page_gives(tmp_path, name):
    folder = tmp_path / "x %23#y"
    folder.mkdir()
    (folder / name).write_bytes(name.encode())
    text = "Some words that are the content of this page, and more of them. " * 9
    (folder / "p.html").write_text(f'<article><p>{text}</p><img src="{quote(name)}"></article>')
    (path,) = (found for found in walk(tmp_path) if is_page(tmp_path, found))
    (page,) = read_folder(tmp_path, (path,), "site", 1 << 20)
    (image,) = extract(page.html, page.url).images
    assert read_local(tmp_path, image.url) == name.encode()
