"""What sources are, how they are cut, and that reading the parts gives each page once, under a stable name."""

import gzip
import json
import os
import pickle

import pyarrow as pa
import pytest
from pyarrow import parquet

from mm1.config import UserError, from_json, to_json
from mm1.curation.page import ImageRef, Page
from mm1.curation.sources import Part, SourcesConfig, list_parts, listing, read_images, read_listed, read_pages

HTML = "<!doctype html><p>text"


def pages(parts, config=None):
    return [item for part in parts for item in read_pages(part, config)]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("most", [1, 4, 512])
def test_sizes_of_parts_add_up_to_what_is_read(site, tmp_path, most):
    table = jsonl(tmp_path / "b.jsonl", [{"html": HTML * number} for number in range(100)])
    parts = list_parts([site, table], SourcesConfig(part_files=most, part_bytes=2000))
    found = {source: sum(part.size for part in parts if part.source == source) for source in ("site", "b.jsonl")}
    assert found["site"] == sum(path.stat().st_size for path in site.rglob("*.html"))
    assert 0 <= table.stat().st_size - found["b.jsonl"] < len(parts)


@pytest.fixture
def site(tmp_path):
    for number in range(10):
        path = tmp_path / "site" / str(number % 3) / f"{number}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HTML} {number}")
    (tmp_path / "site" / "a.png").write_bytes(b"picture")
    (tmp_path / "site" / "list.txt").write_text("https://a.example")
    return tmp_path / "site"


def test_a_site_is_cut_into_parts_that_travel_and_give_each_page_once(site):
    parts = list_parts([site], SourcesConfig(part_files=4))
    assert [len(part.files) for part in parts] == [4, 4, 2]
    assert [from_json(Part, json.loads(json.dumps(to_json(part)))) for part in parts] == parts
    assert pickle.loads(pickle.dumps(parts)) == parts
    assert len({part.name for part in parts}) == 3
    found = pages(parts)
    assert sorted(page.html.decode()[-1] for page in found) == sorted("0123456789")
    assert pages(list_parts([site])) == found
    assert len(list_parts([site], SourcesConfig(part_bytes=50))) == 5


def test_the_parts_of_many_pages_take_little_memory(tmp_path):
    """All are in memory at once. Names as they are would take more than 150 bytes each."""
    folder = tmp_path / "a-folder" / "of-a-manual-with-rather-long-names"
    folder.mkdir(parents=True)
    names = [f"a-folder/of-a-manual-with-rather-long-names/classes_and_members_{n:04}.html" for n in range(2000)]
    for name in names:
        (tmp_path / name).write_text(HTML)
    parts = list_parts([tmp_path])
    assert sum(len(pickle.dumps(part)) for part in parts) < 20 * len(names)
    assert [name for part in parts for name in part.files] == names


def test_only_the_part_of_a_changed_page_has_another_fingerprint(site):
    before = list_parts([site], SourcesConfig(part_files=4))
    os.utime(site / before[1].files[0], ns=(1, 1))
    after = list_parts([site], SourcesConfig(part_files=4))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    (site / "a.png").write_bytes(b"another")
    last = list_parts([site], SourcesConfig(part_files=4))
    assert [part.fingerprint for part in last] == [part.fingerprint for part in after]
    assert {part.pictures for part in last}.isdisjoint(part.pictures for part in after)


def test_a_folder_without_html_is_a_folder_of_sources(tmp_path, warc):
    data, _ = warc.packed([warc.http(HTML.encode())], "gzip")
    (tmp_path / "a.warc.gz").write_bytes(data)
    (tmp_path / "b.warc.gz").write_bytes(b"")
    (tmp_path / "c.warc.gz").write_bytes(data[:9])
    (tmp_path / "README.md").write_text("about")
    jsonl(tmp_path / "d.jsonl", [{"html": HTML}])
    parts = list_parts([tmp_path])
    assert [(part.kind, part.source) for part in parts] == [
        ("warc", "a.warc.gz"), ("warc", "b.warc.gz"), ("warc", "c.warc.gz"), ("jsonl", "d.jsonl")
    ]  # fmt: skip
    assert [getattr(item, "reason", "page") for item in pages(parts)] == ["page", "truncated_record", "page"]
    assert [list(read_images(part)) for part in parts] == [[]] * 4


@pytest.mark.parametrize("how", ["plain", "gzip", "gzip_whole", "zstd", "lz4"])
def test_a_warc_is_told_by_its_content(tmp_path, warc, how):
    (tmp_path / "crawl").write_bytes(warc.packed([warc.http(HTML.encode())], how)[0])
    (part,) = list_parts([tmp_path / "crawl"])
    assert pages([part]) == [Page("crawl/0", "https://a.example/", HTML.encode())]


def test_tables_of_html_whatever_they_call_it(tmp_path):
    address, more = "https://a.example/", {"url": "https://a.example/", "n": 1}
    jsonl(tmp_path / "a.jsonl", [{"html": "<p>\u00fc", **more}, {"html": ""}, {"html": None}, {"url": address}])
    columns = {"content": [b"<p>\xfc", b"x" * 200], "url": ["javascript:a", address], "encoding": ["latin-1", None]}
    parquet.write_table(pa.table(columns), tmp_path / "b.parquet")
    parquet.write_table(pa.table({"raw": ["<p>"], "html": ["other"]}), tmp_path / "c.parquet")
    small = SourcesConfig(max_page_bytes=100)
    assert [getattr(item, "reason", item) for item in pages(list_parts([tmp_path / "a.jsonl"]))] == [
        Page("a.jsonl/0", address, "<p>\u00fc".encode(), "utf-8"), "no_html", "no_html", "no_html"
    ]  # fmt: skip
    assert [getattr(item, "reason", item) for item in pages(list_parts([tmp_path / "b.parquet"]), small)] == [
        Page("b.parquet/0", "", b"<p>\xfc", "latin-1"), "too_large"
    ]  # fmt: skip
    (page,) = pages(list_parts([tmp_path / "c.parquet"], SourcesConfig(html="raw")))
    assert page.html == b"<p>"


def test_tables_are_cut_and_names_stay(tmp_path):
    rows = [{"html": f"{HTML} {number}"} for number in range(40)]
    jsonl(tmp_path / "a.jsonl", rows)
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet", row_group_size=7)
    whole, cut = (list_parts([tmp_path / "a.jsonl", tmp_path / "b.parquet"], SourcesConfig(part_bytes=size))
                  for size in (1 << 20, 300))  # fmt: skip
    assert (len(whole), len(cut) > 10) == (2, True)
    assert pages(cut) == pages(whole)
    assert len({page.id for page in pages(cut)}) == 80


def test_lists_of_pictures_are_told_from_lists_of_pages(tmp_path):
    (tmp_path / "a.txt").write_text("https://a.example/1.jpg\nhttps://a.example/2.PNG?x=1\nhttps://a.example/3\n")
    (tmp_path / "b.csv").write_text('url,caption,alt\nhttps://a.example/1," a cat ",cat\nnone,a,b\n')
    jsonl(tmp_path / "c.jsonl", [{"url": "https://a.example/1", "alt": "cat"}])
    (tmp_path / "d.txt").write_text("https://a.example/1.html\nhttps://a.example/2.png\n")
    parts = list_parts([tmp_path])
    assert [part.kind for part in parts] == ["image_urls"] * 3 + ["page_urls"]
    assert [found.image.url for found in read_listed(parts[0])][1] == "https://a.example/2.PNG?x=1"
    one, bad = read_listed(parts[1])
    assert (one.id, one.image) == ("b.csv/0", ImageRef("https://a.example/1", alt="cat", caption="a cat"))
    assert bad.reason == "bad_url"
    assert [found.image.alt for found in read_listed(parts[2])] == ["cat"]
    forced = list_parts([tmp_path / "d.txt"], SourcesConfig(urls="images"))
    assert [part.kind for part in forced] == ["image_urls"]


def test_sources_of_one_name_are_told_apart(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name / "site").mkdir(parents=True)
        (tmp_path / name / "site" / "a.html").write_text(HTML)
    parts = list_parts([tmp_path / "x" / "site", tmp_path / "y" / "site", tmp_path / "x" / "site"])
    assert [part.source for part in parts] == ["x/site", "y/site"]
    assert len({part.name for part in parts}) == 2
    assert all("/" not in part.name for part in parts)


def test_sources_that_differ_in_a_dot_are_told_apart(tmp_path):
    for name in ("site", ".site", "..site"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.html").write_text(HTML)
    parts = list_parts([tmp_path / name for name in ("site", ".site", "..site")])
    assert len({part.name for part in parts}) == 3
    assert not [part.name for part in parts if part.name.startswith(".")]


def test_what_is_not_there_is_named_whatever_is_given_twice(tmp_path):
    (tmp_path / "a.txt").write_text("https://a.example/")
    with pytest.raises(UserError, match=r"gone\.txt is not there"):
        list_parts([tmp_path / "a.txt", tmp_path / "a.txt", tmp_path / "gone.txt"])


@pytest.mark.timeout(60)
def test_thousands_of_sources_are_not_compared_with_each_other(tmp_path):
    """As a shell spells out `crawl/*.warc`: two thousand took minutes."""
    paths = [tmp_path / f"{number}.warc" for number in range(2000)]
    for path in paths:
        path.write_bytes(b"WARC/1.0\r\n")
    assert len(list_parts(paths)) == 2000


MISTAKES = {
    "nothing is given": lambda folder: [],
    "is not there": lambda folder: [folder / "none"],
    "would be read twice": lambda folder: [folder, folder / "a.bin"],
    "holds no HTML": lambda folder: [folder / "empty"],
    "is nothing that pages are read from": lambda folder: [folder / "a.bin"],
    "its first line is no JSON": lambda folder: [folder / "b.jsonl"],
    "no text named html": lambda folder: [folder / "c.jsonl"],
    "no readable parquet footer": lambda folder: [folder / "d.parquet"],
    "is empty: leave it out": lambda folder: [folder / "f.jsonl"],
    "it is truncated": lambda folder: [folder / "e.jsonl.gz"],
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")
    (tmp_path / "b.jsonl").write_text("{broken\n{}")
    (tmp_path / "c.jsonl").write_text('{"title": "a"}')
    (tmp_path / "d.parquet").write_bytes(b"PAR1 broken")
    (tmp_path / "f.jsonl").touch()
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(b'{"html": "a"}')[:12])
    said = said.replace("nothing is given", "there is nothing to read")
    with pytest.raises(UserError, match=said) as caught:
        list_parts(MISTAKES.get(said, MISTAKES["nothing is given"])(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_that_only_csv_chokes_on_is_nothing_understood(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x" * 300_000)
    with pytest.raises(UserError, match="is nothing that pages are read from"):
        list_parts([tmp_path / "a.csv"])


def test_random_bytes_are_nothing_understood(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\x91\rA\0\xfe\r\x00rest\n")
    with pytest.raises(UserError, match="is nothing that pages are read from"):
        list_parts([tmp_path / "a.bin"])


@pytest.mark.parametrize("data", [b"url,alt\rhttps://a.example/,b\r", b"https://a.example/\rhttps://b.example/\r"])
def test_lines_that_end_in_bare_carriage_returns_are_refused(tmp_path, data):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(UserError, match="bare carriage returns"):
        list_parts([tmp_path / "a.csv"])


@pytest.mark.parametrize("html", ["<p>text", '"<!doctype html>' + "<p>text" * 20_000 + '"'], ids=["short", "long"])
def test_html_in_csv_is_refused_and_not_left_out_without_a_word(tmp_path, html):
    (tmp_path / "a.csv").write_text(f"html,url\n,https://a.example/0\n{html},https://a.example/1\n")
    with pytest.raises(UserError, match="CSV with HTML in its column html"):
        list_parts([tmp_path / "a.csv"])


def test_a_column_of_csv_that_is_only_called_like_html_leaves_a_list_a_list(tmp_path):
    (tmp_path / "a.csv").write_text("content,url\na title,https://a.example/1\n")
    assert [part.kind for part in list_parts([tmp_path / "a.csv"])] == ["page_urls"]
    with pytest.raises(UserError, match="CSV with HTML in its column content"):
        list_parts([tmp_path / "a.csv"], SourcesConfig(html="content"))


@pytest.mark.parametrize("name", [b"\xff.warc", b"\xff/a.warc"])
def test_a_name_in_a_folder_that_is_not_utf_8_is_one_sentence(tmp_path, warc, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(warc.http(b"<html>"))
    with pytest.raises(UserError, match="is not UTF-8: rename it"):
        list_parts([tmp_path])


def test_each_file_of_a_folder_is_looked_at_once(tmp_path, monkeypatch):
    """There may be a million, on a disk that is far away."""
    for name in ("a.html", "b.html", "c.png", "d", "e/f.htm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"<p>text")
    seen = {"_about": [], "is_page": []}
    for what, names in seen.items():
        call = getattr(listing, what)
        monkeypatch.setattr(
            listing, what, lambda root, name, call=call, names=names: names.append(name) or call(root, name)
        )
    (part,) = list_parts([tmp_path])
    assert set(part.files) == {"a.html", "b.html", "d", "e/f.htm"}
    assert all(sorted(names) == ["a.html", "b.html", "c.png", "d", "e/f.htm"] for names in seen.values())
