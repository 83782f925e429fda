"""Lists of addresses to sets, from a server that misbehaves: every row has an outcome, and nothing is asked twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mm1.config import override
from mm1.curation.config import PROFILES, CurateConfig
from mm1.curation.pipeline import curate
from mm1.curation.runner import Runner
from tests.curation.fetch.misbehaving_server import Server, ok
from tests.curation.site import page, picture

TEXTS = {name: f"A {name} in the evening light beside the old stone house" for name in ("harbour", "bridge", "tower")}


def quick(server: Server, *changes: str) -> CurateConfig:
    """Allowed to ask this server, and in a hurry."""
    fetch = {"retries": 0, "total_timeout_seconds": 0.5, "read_timeout_seconds": 0.3}
    config = PROFILES["mm1"].replace(fetch=server.config(**fetch))
    return override(config, changes)


def html(number: int, *tags: str, **headers: str) -> bytes:
    return ok(page(number, tags).encode(), Content_Type="text/html; charset=utf-8", **headers)


def png(number: int, **headers: str) -> bytes:
    return ok(picture(number), Content_Type="image/png", **headers)


def funnel(out: Path) -> dict[tuple[str, str], dict[str, object]]:
    return {(step["name"], step["unit"]): step for step in json.loads((out / "funnel.json").read_text())["steps"]}


def rows(out: Path, name: str) -> list[dict[str, object]]:
    return [row for path in sorted((out / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


async def _slow() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"
    await asyncio.sleep(30)
    yield b"never"


def test_pages_of_a_list_and_their_images_are_downloaded_once(tmp_path: Path) -> None:
    with Server(
        {
            "/robots.txt": ok(b"User-agent: *\nDisallow: /private/"),
            "/one": html(1, '<img src="/1.png"><img src="/private/2.png"><img src="/slow.png">'),
            "/two": html(2, '<img src="/noai.png"><img src="/gone.png"><img src="/text.png">'),
            "/three": html(3, '<img src="/1.png">', X_Robots_Tag="noai"),
            "/private/four": html(4),
            "/data": ok(b"%PDF-1.7 no page", Content_Type="application/pdf"),
            "/1.png": png(1),
            "/private/2.png": png(2),
            "/slow.png": _slow,
            "/noai.png": png(3, X_Robots_Tag="noai"),
            "/text.png": ok(b"<html>not found</html>", Content_Type="image/png"),
        }
    ) as server:
        names = ["/one", "/two", "/three", "/private/four", "/data", "/missing", "/one"]
        (tmp_path / "list.txt").write_text("\n".join(server.url(f"http://127.0.0.1{name}") for name in names))
        out = tmp_path / "set"
        curate([tmp_path / "list.txt"], out, quick(server), Runner())
        steps = funnel(out)
        assert steps["extract", "page"]["dropped"] == {
            "opt_out": 1,
            "robots": 1,
            "not_html": 1,
            "http_404": 1,
            "repeated_url": 1,
        }
        assert steps["images", "image"]["dropped"] == {
            "robots": 1,
            "timeout": 1,
            "opt_out": 1,
            "http_404": 1,
            "not_an_image": 1,
        }
        [document] = rows(out, "interleaved")
        assert [part["image"] for part in document["segments"] if part["image"]] == [picture(1)]
        assert set(Counter(server.paths()).values()) == {1}
        assert not any(path.startswith("/private") for path in server.paths())

        asked = len(server.asked)
        curate([tmp_path / "list.txt"], out, quick(server), Runner())
        assert len(server.asked) == asked, "the steps stand"
        curate([tmp_path / "list.txt"], out, quick(server, "interleaved.images.min_side=90"), Runner())
        assert [path for _, path in server.asked[asked:]] == [], "and so do the outcomes where a step is done anew"


def test_a_list_that_was_renamed_or_has_grown_asks_only_for_what_is_new(tmp_path: Path) -> None:
    """Also where it is cut into other parts, or where another list names the same pages."""
    with Server({f"/{number}": html(number) for number in range(8)}) as server:

        def listed(name: str, numbers: Iterable[int]) -> Path:
            path = tmp_path / name
            path.write_text("\n".join(server.url(f"http://127.0.0.1/{number}") for number in numbers))
            return path

        def run(*changes: str) -> int:
            paths = [path for path in sorted(tmp_path.iterdir()) if path.is_file()]
            curate(paths, tmp_path / "set", quick(server, *changes), Runner())
            return int(str(funnel(tmp_path / "set")["extract", "page"]["out"]))

        first = listed("list.txt", range(4))
        assert run() == 4
        first.rename(tmp_path / "renamed.txt")
        assert run() == 4
        listed("renamed.txt", [9, *range(6)])
        assert run("sources.part_urls=2") == 6
        listed("another.txt", range(3, 8))
        assert run() == 6 + 5
        assert sorted(server.paths()) == sorted(["/9", *(f"/{number}" for number in range(8))])


def test_images_of_a_list_with_captions_are_downloaded(tmp_path: Path) -> None:
    with Server({f"/{name}.png": png(number) for number, name in enumerate(TEXTS)}) as server:
        lines = [f"{server.url(f'http://127.0.0.1/{name}.png')},{text}" for name, text in TEXTS.items()]
        lines += [f"{server.url('http://127.0.0.1/gone.png')},Nothing but an empty place where a picture was"]
        (tmp_path / "list.csv").write_text("\n".join(["url,caption", *lines]))
        curate([tmp_path / "list.csv"], tmp_path / "set", quick(server), Runner())
        pairs = rows(tmp_path / "set", "captions")
        assert sorted(part["image"] for row in pairs for part in row["segments"] if part["image"]) == sorted(
            map(picture, range(3))
        )
        assert funnel(tmp_path / "set")["extract", "listed image"]["in"] == 4
        assert funnel(tmp_path / "set")["images", "image"]["dropped"] == {"http_404": 1}


@pytest.mark.slow
def test_a_run_that_was_killed_while_it_downloaded_asks_nothing_again(tmp_path: Path) -> None:
    answers = {f"/{number}": html(number, f'<img src="/{number}.png">') for number in range(12)}
    answers |= {f"/{number}.png": png(number) for number in range(12)}
    with Server(answers) as server:
        (tmp_path / "list.txt").write_text("\n".join(server.url(f"http://127.0.0.1/{n}") for n in range(12)))
        fetch = [f"fetch.ports=[{server.port}]", 'fetch.allow_networks=["127.0.0.1/32"]']
        fetch += ["fetch.host_delay_seconds=0.05", "fetch.per_host=1"]
        command = [sys.executable, "-m", "mm1.cli", "curate", str(tmp_path / "list.txt")]
        command += ["--out", str(tmp_path / "set"), "--processes", "1", *fetch]
        for enough in (3, 16):
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while len(server.paths()) < enough and running.poll() is None:
                time.sleep(0.005)
            os.kill(running.pid, signal.SIGKILL)
            assert running.wait() == -signal.SIGKILL
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        again = [path for path, times in Counter(server.paths()).items() if times > 1]
        assert len(again) <= 2, "no more than what was under way when it was killed"
        assert len(rows(tmp_path / "set", "interleaved")) == 12
