"""Lists of pages: each row is read once, each address asked once, each host by one process."""

import json

import pytest

from mm1.curation.fetch.fetched import Fetched
from mm1.curation.fetch.urls import parse_url
from mm1.curation.page import Dropped, Page
from mm1.curation.sources import SourcesConfig, list_parts, page_lists, read_downloaded, spread
from mm1.curation.sources.hosts import BUCKETS_AT_ONCE, bucket_of, host_of

HTML = b"<!doctype html><p>text"
BUCKETS = 256
LISTS = {
    "lines": "https://a.example/1\nhttp://b.example/2\n\nftp://c.example/3\nhttps://a.example/1\nhttps://[bad\n",
    "csv": "n,url\n1,https://a.example/1\n2,http://b.example/2\n3,nothing\n4,https://a.example/1\n5,\n",
    "jsonl": "".join(
        json.dumps({"url": url}) + "\n"
        for url in ("https://a.example/1", "http://b.example/2", 3, "https://a.example/1", "https://a:b/")
    ),
}


@pytest.fixture
def spread_list(tmp_path):
    """From the text of a list to its parts, spread; the list is gone then."""

    def make(text, part_urls=1000):
        path = tmp_path / "list"
        path.write_text(text, newline="")
        parts = list_parts([path], SourcesConfig(part_urls=part_urls))
        (tmp_path / "spread").mkdir()
        spread(parts[-1], tmp_path / "spread", BUCKETS)
        path.unlink()
        return parts, tmp_path / "spread"

    return make


def asked(parts, folder):
    """What each part asks for."""
    found = []
    for part in parts:
        found.append([])
        list(read_downloaded(part, folder, lambda urls: found[-1].extend(urls) or ()))
    return found


@pytest.mark.parametrize("layout", LISTS)
@pytest.mark.parametrize("part_urls", [2, 1000])
def test_each_address_is_downloaded_once_and_each_row_counted(spread_list, layout, part_urls):
    parts, folder = spread_list(LISTS[layout], part_urls)
    urls = []

    def download(wanted):
        for url in wanted:
            urls.append(url)
            data = HTML if "a.example" in url else None
            yield Fetched(url, data, "" if data else "http_404", charset="utf-8")

    found = [item for part in parts for item in read_downloaded(part, folder, download)]
    assert sorted(urls) == ["http://b.example/2", "https://a.example/1"]
    reasons = sorted(item.reason for item in found if isinstance(item, Dropped))
    assert reasons == ["bad_url", "bad_url", "http_404", "repeated_url"]
    (page,) = (item for item in found if isinstance(item, Page))
    assert (page.url, page.html, page.encoding) == ("https://a.example/1", HTML, "utf-8")


def test_all_pages_of_a_host_are_in_one_part_whatever_the_port(spread_list, monkeypatch):
    """The buffer is full after every few lines, so that files are opened again and again."""
    monkeypatch.setattr(page_lists, "_HELD", 100)
    ports = ("", ":80", ":443", ":8080")
    urls = [f"http://{'xX'[n % 2]}{n % 7}.Example{('', '.')[n % 3 == 0]}{ports[n % 4]}/{n}" for n in range(200)]
    parts, folder = spread_list("\n".join(urls), part_urls=20)
    found = asked(parts, folder)
    assert sorted(url for part in found for url in part) == sorted(urls)
    hosts = [{host_of(url) for url in part} for part in found]
    assert len(hosts) == 10
    assert sum(map(len, hosts)) == len(set.union(*hosts)) == 7


def test_a_host_has_one_name_however_it_is_spelled():
    spelled = ("http://b\u00fccher.example/a", "https://XN--bcher-kva.Example.:8443/b", "http://B\u00dcCHER.example?c")
    assert {host_of(url) for url in spelled} == {"xn--bcher-kva.example"}
    odd = ("http://straße.example/", "http://[2001:DB8:0::1]:8080/a", "http://[2001:db8::1]/")
    assert {host_of(url) for url in odd} == {parse_url(url, range(1 << 16)).raw_host for url in odd}
    assert host_of("http://" + "\u00fc" * 300 + ".example/") == "\u00fc" * 300 + ".example"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("https://a.example/" + "x" * 8200, "url_too_long"),
        ("https://a.example/1\rhttps://a.example/2", "bad_url"),
    ],
)
def test_an_address_that_is_none_is_counted(spread_list, line, reason):
    parts, folder = spread_list(f"https://a.example/0\n{line}\n")
    found = [item for part in parts for item in read_downloaded(part, folder, lambda urls: list(urls) and [])]
    assert [item.reason for item in found] == [reason]


def test_a_list_has_no_more_parts_than_buckets_and_each_bucket_is_in_one_part(tmp_path):
    """Two parts with one bucket would wait for each other's downloads; those of a grown list stay in their buckets."""
    path = tmp_path / "list"
    buckets_of = []
    for rows, most, number in ((80, 3, 3), (400, 1000, 20)):
        path.write_text("".join(f"https://h{n}.example/\n" for n in range(rows)))
        parts = list_parts([path], SourcesConfig(part_urls=20), most)
        assert len(parts) == number
        folder = tmp_path / str(rows)
        folder.mkdir()
        spread(parts[0], folder, most)
        found = [{bucket_of(url, most) for url in part} for part in asked(parts, folder)]
        assert sum(map(len, found)) == len(set.union(*found))
        buckets_of.append({path.stem for path in folder.iterdir()})
    assert buckets_of[0] == {"00001", "00002", "00003"}


def test_no_more_buckets_are_asked_at_once_than_files_can_be_open(tmp_path):
    (tmp_path / "list").write_text("".join(f"https://h{n}.example/\nhttps://h{n}.example/\n" for n in range(300)))
    (part,) = list_parts([tmp_path / "list"])
    (tmp_path / "spread").mkdir()
    spread(part, tmp_path / "spread", BUCKETS)
    together = []

    def download(urls):
        together.append([bucket_of(url, BUCKETS) for url in urls])
        return ()

    refused = list(read_downloaded(part, tmp_path / "spread", download))
    assert sum(map(len, together)) == len(refused) == 300
    assert max(len(set(buckets)) for buckets in together) == BUCKETS_AT_ONCE
    asked_in_order = [bucket for buckets in together for bucket in buckets]
    assert asked_in_order == sorted(asked_in_order)
