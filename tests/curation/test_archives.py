"""WARC files to sets: pages and images are both taken from the records, and nothing is asked of the network."""

import gzip
import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastwarc.warc import WarcRecord, WarcRecordType

from mm1.cli.main import main
from mm1.config import override
from mm1.curation import downloads
from mm1.curation.config import PROFILES
from mm1.curation.pipeline import curate
from mm1.curation.runner import Runner
from tests.curation.site import page, picture, write_site

SETS = ("text", "interleaved", "captions")
ALT = "A harbour in the evening with many small boats"
SITE = {
    "https://a.example/one": page(1, [f'<img src="/pictures/1.png" alt="{ALT}"><img src="gone.png">']).encode(),
    "https://a.example/deep/two": page(2, ['<img src="../pictures/2.png">']).encode(),
    "https://b.example/three": page(3, ['<img src="https://a.example/pictures/1.png">']).encode(),
    "https://a.example/pictures/1.png": picture(1),
    "https://a.example/pictures/2.png": picture(2)[:-200],
}


def write_warc(path: Path, site: dict[str, bytes], headers: Mapping[str, str] = MappingProxyType({})) -> Path:
    """As crawlers write them: a record of the crawl itself, then a request and a response for each address.

    `headers` are those that some of the addresses were sent with.
    """
    pack = partial(gzip.compress, mtime=0) if path.suffix == ".gz" else bytes

    def write(kind: WarcRecordType, url: str, http: bytes) -> None:
        record = WarcRecord()
        record.init_headers(kind)
        record.headers["WARC-Target-URI"] = url
        if kind != WarcRecordType.warcinfo:
            record.headers["Content-Type"] = "application/http"
        record.set_bytes_content(http)
        made = io.BytesIO()
        record.write(made)
        with path.open("ab") as file:
            file.write(pack(made.getvalue()))

    write(WarcRecordType.warcinfo, "", b"software: test\r\n")
    for url, body in site.items():
        media = "image/png" if url.endswith(".png") else "text/html; charset=utf-8"
        write(WarcRecordType.request, url, b"GET / HTTP/1.1\r\n\r\n")
        more = f"{headers[url]}\r\n" if url in headers else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        write(WarcRecordType.response, url, head.encode() + body)
    return path


def funnel(out: Path) -> dict[tuple[str, str], dict[str, object]]:
    return {(step["name"], step["unit"]): step for step in json.loads((out / "funnel.json").read_text())["steps"]}


def rows(out: Path, name: str) -> list[dict[str, object]]:
    found = [row for path in sorted((out / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: str(row["url"]))


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were to be downloaded: none is."""
    addresses: list[str] = []

    def fetch(urls, config, tombstones):  # type: ignore[no-untyped-def]
        addresses.extend(urls)
        return iter(())

    monkeypatch.setattr(downloads, "fetch", fetch)
    return addresses


@pytest.mark.parametrize("name", ["crawl.warc", "crawl.warc.gz"])
def test_pages_and_images_of_a_crawl_come_from_its_records(tmp_path: Path, name: str, asked: list[str]) -> None:
    site = SITE | {"https://a.example/gone.png": picture(3)}
    curate([write_warc(tmp_path / name, site)], tmp_path / "set", PROFILES["mm1"], Runner())
    assert asked == []
    steps = funnel(tmp_path / "set")
    assert (steps["extract", "page"]["out"], steps["extract", "page"]["dropped"]) == (3, {"not_html": 3})
    assert (steps["images", "image"]["in"], steps["images", "image"]["dropped"]) == (3, {"corrupt": 1})
    shown = {
        str(row["url"]): [part["image"] for part in row["segments"] if part["type"] == "image"]
        for row in rows(tmp_path / "set", "interleaved")
    }
    assert shown == {
        "https://a.example/one": [picture(1), picture(3)],
        "https://b.example/three": [picture(1)],
    }
    [pair] = rows(tmp_path / "set", "captions")
    assert [part["image"] for part in pair["segments"] if part["type"] == "image"] == [picture(1)]


def test_offline_an_image_that_no_record_has_is_counted_as_such(tmp_path: Path) -> None:
    config = PROFILES["mm1"].replace(download=False)
    curate([write_warc(tmp_path / "c.warc.gz", SITE)], tmp_path / "set", config, Runner())
    assert funnel(tmp_path / "set")["images", "image"]["dropped"] == {"corrupt": 1, "offline": 1}


def test_pages_and_images_that_their_owners_refuse_are_in_no_set(tmp_path: Path, asked: list[str]) -> None:
    """By a header or by a tag; nor is an image that is refused in the crawl asked for again."""
    site = {f"https://{host}.example/": page(n, [f'<img src="/{n}.png">']).encode() for n, host in enumerate("abc")}
    site |= {f"https://{host}.example/{n}.png": picture(n) for n, host in enumerate("abc")}
    site["https://b.example/"] = b'<meta name="robots" content="noai">' + site["https://b.example/"]
    headers = {"https://a.example/": "X-Robots-Tag: noai", "https://c.example/2.png": "TDM-Reservation: 1"}
    crawl = write_warc(tmp_path / "crawl.warc.gz", site, headers)
    curate([crawl], tmp_path / "set", PROFILES["mm1"], Runner())
    steps = funnel(tmp_path / "set")
    assert (steps["extract", "page"]["out"], steps["extract", "page"]["dropped"]) == (1, {"not_html": 3, "opt_out": 2})
    assert steps["images", "image"]["dropped"] == {"tdm_reservation": 1}
    assert [row["url"] for row in rows(tmp_path / "set", "text")] == ["https://c.example/"]
    assert rows(tmp_path / "set", "interleaved") == rows(tmp_path / "set", "captions") == []

    ignoring = override(PROFILES["mm1"], ["fetch.opt_out=[]", "fetch.tdm_reservation=false", "download=false"])
    curate([crawl], tmp_path / "set", ignoring, Runner())
    assert len(rows(tmp_path / "set", "interleaved")) == 3, "the steps are done anew"
    assert asked == []


def test_a_crawl_of_which_nothing_can_be_read_is_named_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_warc(tmp_path / "whole.warc.gz", SITE)
    cut = tmp_path / "cut.warc.gz"
    cut.write_bytes(whole.read_bytes()[:20])
    alone = ["--offline", "--processes", "1"]
    assert main(["curate", str(whole), str(cut), "--out", str(tmp_path / "one"), *alone]) == 0
    said = capsys.readouterr().out
    assert "Not one page could be read of: cut.warc.gz (truncated_record 1)\n" in said
    assert "cut.warc.gz (truncated_record 1)" in (tmp_path / "one" / "report.html").read_text()

    assert main(["curate", str(cut), "--out", str(tmp_path / "two"), *alone]) != 0
    assert "not one page could be read of cut.warc.gz (truncated_record 1)" in capsys.readouterr().err
    assert funnel(tmp_path / "two")["extract", "page"]["dropped"] == {"truncated_record": 1}


def test_a_second_crawl_of_the_same_pages_adds_nothing(tmp_path: Path, asked: list[str]) -> None:
    site = SITE | {"https://a.example/gone.png": picture(3)}
    first = write_warc(tmp_path / "a.warc.gz", site)
    second = write_warc(tmp_path / "b.warc", dict(reversed(site.items())))
    curate([first], tmp_path / "one", PROFILES["mm1"], Runner())
    curate([first, second], tmp_path / "two", PROFILES["mm1"], Runner())
    assert asked == []
    for name in SETS:
        assert rows(tmp_path / "one", name) == rows(tmp_path / "two", name)
    assert funnel(tmp_path / "two")["duplicates", "page"]["dropped"] == {"exact_copy": 3}


def test_a_crawl_a_folder_and_tables_go_together(tmp_path: Path) -> None:
    """Every kind of source in one command, each with one page that no other has."""

    def tag(number: int) -> list[str]:
        return [f'<img src="https://a.example/pictures/{number}.png">']

    crawl = write_warc(tmp_path / "c.warc.gz", SITE | {"https://a.example/pictures/2.png": picture(2)})
    folder = write_site(tmp_path / "site", {"p.html": page(10, ['<img src="x.png">'])}, {"x.png": picture(10)})
    lines = tmp_path / "l.jsonl"
    lines.write_text(json.dumps({"url": "https://l.example/", "html": page(11, tag(1))}) + "\n")
    zipped = tmp_path / "z.jsonl.gz"
    zipped.write_bytes(gzip.compress(json.dumps({"url": "https://z.example/", "html": page(12, tag(2))}).encode()))
    packed = tmp_path / "p.jsonl.zst"
    packed.write_bytes(
        pa.Codec("zstd").compress(json.dumps({"url": "https://p.example/", "html": page(14)}).encode(), asbytes=True)
    )
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"url": ["https://t.example/"], "content": [page(13, tag(1)).encode()]}), table)
    config = PROFILES["mm1"].replace(download=False)
    curate([crawl, folder, lines, zipped, packed, table], tmp_path / "set", config, Runner())
    assert len(rows(tmp_path / "set", "text")) == 8
    shown = {
        str(row["url"]).rpartition("/")[0]: [part["image"] for part in row["segments"] if part["type"] == "image"]
        for row in rows(tmp_path / "set", "interleaved")
    }
    assert shown.pop("https://a.example/deep") == [picture(2)]
    assert shown.pop("https://z.example") == [picture(2)]
    assert [picture(10)] in shown.values()
    assert shown["https://l.example"] == shown["https://t.example"] == [picture(1)]
