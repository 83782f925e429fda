"""From sources to sets: nothing is lost, nothing depends on how the work was cut, and what is finished stays."""

import base64
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest

from mm1.config import UserError, override
from mm1.curation import downloads, pipeline
from mm1.curation.config import PROFILES
from mm1.curation.fetch import Fetched
from mm1.curation.funnel import Funnel
from mm1.curation.pipeline import VERSIONS, Pipeline, curate
from mm1.curation.runner import Runner
from mm1.curation.sources import list_parts
from mm1.data.formats.catalog import FORMATS
from mm1.data.formats.reading import Drop, ReadOptions
from mm1.types import Image, Text
from tests.curation.site import page, picture, prose, write_site

pytestmark = pytest.mark.filterwarnings(
    # Daft leaves the pipe of each process that it started to the garbage collector.
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed file:ResourceWarning",
)
PAGES = Path(__file__).parent / "pages"
OFFLINE = override(PROFILES["mm1"], ["download=false", "sources.part_files=3"])
SETS = ("text", "interleaved", "captions")


def rows(out: Path, name: str) -> list[dict[str, object]]:
    return [row for path in sorted((out / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def urls(row: dict[str, object]) -> list[str]:
    return [part["url"] for part in row["segments"] if part["type"] == "image"]


def images(row: dict[str, object]) -> list[bytes]:
    return [part["image"] for part in row["segments"] if part["type"] == "image"]


def counts(out: Path) -> dict[tuple[str, str], dict[str, object]]:
    steps = json.loads((out / "funnel.json").read_text())["steps"]
    return {(step["name"], step["unit"]): step for step in steps}


def results(out: Path) -> dict[str, bytes]:
    """Every file that a person is given."""
    found = [out / "funnel.json", out / "report.html", *(path for name in SETS for path in (out / name).iterdir())]
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(found)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real pages, curated in one process."""
    out = tmp_path_factory.mktemp("one") / "set"
    curate([PAGES], out, OFFLINE, Runner())
    return out


def test_the_funnel_adds_up_and_counts_what_is_in_the_sets(made: Path) -> None:
    Funnel.from_json(json.loads((made / "funnel.json").read_text()))  # checks every step and every unit's way
    found = counts(made)
    pages = len(list(PAGES.rglob("*.html")))
    assert found["extract", "page"]["in"] == pages
    assert found["duplicates", "page"]["out"] == len(rows(made, "text"))
    assert found["interleaved", "page"]["out"] == len(rows(made, "interleaved")) > 3
    assert found["interleaved", "image in a page"]["out"] == sum(len(urls(row)) for row in rows(made, "interleaved"))
    assert found["caption copies", "image of a page"]["out"] == len(rows(made, "captions")) > 3


@pytest.mark.parametrize("name", SETS)
def test_prepare_reads_every_document_of_every_set(made: Path, name: str) -> None:
    read = FORMATS["documents-parquet"].read
    items = [item for path in sorted((made / name).iterdir()) for item in read(path, ReadOptions())]
    assert not [item for item in items if isinstance(item, Drop)]
    assert [item.id for item in items] == [row["id"] for row in rows(made, name)]
    for item in items:
        kinds = Counter(type(part) for part in item.segments)
        assert kinds[Text] > 0
        assert (kinds[Image] > 0) == (name != "text")
        if name == "captions":
            assert kinds == {Image: 1, Text: 1}


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    curate([PAGES], out, OFFLINE, Runner(processes=2, memory=1 << 20))
    assert results(out) == results(made)


@pytest.mark.slow
def test_ray_with_two_workers_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    command = [sys.executable, "-m", "mm1.cli", "curate", str(PAGES), "--out", str(out), "--offline"]
    command += ["sources.part_files=3", "--ray", "local", "--processes", "2"]
    told = subprocess.run(command, check=True, stderr=subprocess.PIPE).stderr
    assert told == b"", "Ray says nothing of its own"
    assert results(out) == results(made)


def test_a_rerun_does_nothing_and_a_change_redoes_what_it_changes(tmp_path: Path) -> None:
    sources, out = write_site(tmp_path / "site", {"a.html": page(1), "b.html": page(2)}, {}), tmp_path / "set"

    def made_by(*changes: str) -> set[str]:
        before = set((out / "work" / "steps").iterdir()) if out.exists() else set()
        curate([sources], out, override(OFFLINE, changes), Runner())
        return {path.name.partition("-")[0] for path in set((out / "work" / "steps").iterdir()) - before} - {"lock"}

    later = {"texts", "duplicates", "addresses", "images", "interleaved", "captions"}
    assert made_by() == {"extract", *later}
    assert made_by() == set()
    assert made_by("captions.text.min_words=5") == {"captions"}
    assert made_by("interleaved.images.min_side=200") == {"addresses", "images", "interleaved", "captions"}
    assert made_by("text.rules.min_words=51") == later
    (sources / "b.html").write_text(page(3))
    assert made_by() == {"extract", *later}


def test_the_text_set_has_each_text_once_and_the_longest_of_like_ones(tmp_path: Path) -> None:
    text = prose(7, sentences=40)
    longer = f"{text} It ends with one sentence more."
    pages = {
        "a/first.html": page(1, text=text),
        "b/again.html": page(1, text=text.replace(".", " !")),
        "c/longer.html": page(1, text=longer),
        "d/other.html": page(2),
        "e/short.html": "<p>Too short.</p>",
    }
    out = tmp_path / "set"
    rules = ["text.rules.max_repeated_lines=1", "text.rules.max_repeated_line_characters=1"]
    rules += ["text.rules.max_repeated_ngrams=[1,1,1,1,1,1]", "text.rules.max_top_ngrams=[1,1,1]"]
    curate([write_site(tmp_path / "site", pages, {})], out, override(OFFLINE, rules), Runner())
    assert [row["id"] for row in rows(out, "text")] == ["site/c/longer.html", "site/d/other.html"]
    assert counts(out)["duplicates", "page"]["dropped"] == {"exact_copy": 1, "near_copy": 1}
    assert counts(out)["text rules", "page"]["dropped"] == {"too_short": 1}


def image(name: str, alt: str = "") -> str:
    return f'<img src="{name}" alt="{alt}">'


def test_images_that_are_too_frequent_are_dropped_by_address_and_by_bytes(tmp_path: Path) -> None:
    """On 11 pages one address, on 11 pages one picture under 11 addresses, and on 10 pages what may stay."""
    pages = {
        f"{n:02}.html": page(n, [image("often.png"), image(f"copy{n}.png"), image(f"own{n}.png")]) for n in range(11)
    }
    pages |= {f"{n:02}.html": page(n, [image("seldom.png")]) for n in range(20, 30)}
    pictures = {"often.png": picture(1), "seldom.png": picture(2)}
    pictures |= {f"copy{n}.png": picture(3) for n in range(11)} | {f"own{n}.png": picture(10 + n) for n in range(11)}
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", pages, pictures)], out, OFFLINE, Runner())
    kept = Counter(url for row in rows(out, "interleaved") for url in urls(row))
    assert kept == {"local:seldom.png": 10, **{f"local:own{n}.png": 1 for n in range(11)}}
    dropped = counts(out)["interleaved", "image in a page"]["dropped"]
    assert dropped == {"frequent_url": 11, "frequent_bytes": 11}
    assert counts(out)["image copies", "image"]["dropped"] == {"frequent_bytes": 11}


def test_bytes_are_counted_over_all_pages_that_show_them(tmp_path: Path) -> None:
    """One picture under two names, each on six pages; another under two names, each on five."""
    pages = {f"{n:02}.html": page(n, [image(f"often{n % 2}.png"), image(f"stays{n % 2}.png")]) for n in range(10)}
    pages |= {f"{n}.html": page(n, [image(f"often{n % 2}.png"), image("own.png")]) for n in (10, 11)}
    pictures = {f"{name}{n}.png": picture(seed) for seed, name in enumerate(("often", "stays")) for n in range(2)}
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", pages, pictures | {"own.png": picture(9)})], out, OFFLINE, Runner())
    kept = Counter(url for row in rows(out, "interleaved") for url in urls(row))
    assert kept == {"local:stays0.png": 5, "local:stays1.png": 5, "local:own.png": 2}


@pytest.mark.parametrize("under", ["one address", "many addresses"])
def test_galleries_make_no_image_of_a_document_more_frequent(tmp_path: Path, under: str) -> None:
    """On 3 pages with prose and on 9 without; 12 pages are too many for a caption, and 3 not for a document."""
    tags = [image("a.png" if under == "one address" else f"a{n}.png", "A red boat on a quiet lake") for n in range(12)]
    pages = {f"p{n}.html": page(n, [tags[n]]) for n in range(3)}
    pages |= {
        f"g{n}.html": f"<body>{tags[n]}{image(f'own{n}.png', f'View {chr(97 + n)} of a hotel')}" for n in range(3, 12)
    }
    pictures = {name: picture(1) for name in ("a.png", *(f"a{n}.png" for n in range(12)))}
    pictures |= {f"own{n}.png": picture(n) for n in range(3, 12)}
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", pages, pictures)], out, OFFLINE, Runner())
    assert [len(urls(row)) for row in rows(out, "interleaved")] == [1, 1, 1]
    assert {url for row in rows(out, "captions") for url in urls(row)} == {f"local:own{n}.png" for n in range(3, 12)}
    reason = "frequent_url" if under == "one address" else "frequent_bytes"
    assert counts(out)["captions", "image of a page"]["dropped"] == {reason: 12}
    dropped = {} if under == "one address" else {"frequent_bytes": 9}
    assert counts(out)["image copies", "image"]["dropped"] == dropped


def test_an_address_that_is_ruled_out_for_a_set_counts_for_no_bytes_of_that_set(tmp_path: Path) -> None:
    """It is fetched for the documents; the bytes that captions see are on one page."""
    tag = image("a.png", "A red boat on a quiet lake")
    pages = {f"p{n}.html": page(n, [tag]) for n in range(3)} | {f"g{n}.html": f"<body>{tag}" for n in range(9)}
    pages["own.html"] = "<body>" + image("b.png", "A large red boat on a lake")
    out = tmp_path / "set"
    site = write_site(tmp_path / "site", pages, {"a.png": picture(1), "b.png": picture(1)})
    curate([site], out, OFFLINE, Runner())
    assert [urls(row) for row in rows(out, "interleaved")] == [["local:a.png"]] * 3
    assert [urls(row) for row in rows(out, "captions")] == [["local:b.png"]]


def test_what_every_page_shows_is_no_caption_s_image_though_one_page_alone_tells_of_it(tmp_path: Path) -> None:
    pages = {f"{n:02}.html": "<body>" + image("a.png") for n in range(10)}
    pages["told.html"] = "<body>" + image("a.png", "A red boat on a quiet lake")
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", pages, {"a.png": picture(1)})], out, OFFLINE, Runner())
    assert counts(out)["addresses", "image"]["dropped"] == {"frequent_url": 1}


def test_one_page_that_shows_bytes_under_many_addresses_counts_once(tmp_path: Path) -> None:
    tags = [image(f"a{n}.png", "A red boat on a quiet lake") for n in range(12)]
    out = tmp_path / "set"
    site = write_site(tmp_path / "site", {"p.html": page(1, tags)}, {f"a{n}.png": picture(1) for n in range(12)})
    curate([site], out, OFFLINE, Runner())
    assert [urls(row) for row in rows(out, "interleaved")] == [["local:a0.png"]]
    assert [urls(row) for row in rows(out, "captions")] == [["local:a0.png"]]


def test_copies_of_a_page_make_its_images_no_more_frequent(tmp_path: Path) -> None:
    pages = {f"{n:02}.html": page(1, [image("a.png", "A red boat on a quiet lake")]) for n in range(12)}
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", pages, {"a.png": picture(1)})], out, OFFLINE, Runner())
    assert [urls(row) for row in rows(out, "interleaved")] == [["local:a.png"]]


def test_one_name_in_two_folders_is_two_pictures(tmp_path: Path) -> None:
    sites = [
        write_site(tmp_path / name, {"p.html": page(seed, [image("a.png")])}, {"a.png": picture(seed)})
        for seed, name in enumerate(("one", "two"))
    ]
    out = tmp_path / "set"
    curate(sites, out, OFFLINE, Runner())
    found = {
        row["id"]: [part["image"] for part in row["segments"] if part["image"]] for row in rows(out, "interleaved")
    }
    assert found == {"one/p.html": [picture(0)], "two/p.html": [picture(1)]}


def test_sets_do_not_depend_on_how_their_sources_were_cut(tmp_path: Path) -> None:
    """Nor do their ids, and so neither which of two equally good captions of one picture stays."""
    say = ("Two red boats on a lake", "Some red boats on a lake")
    pages = {f"{n}.html": page(n, [image(f"{n}{m}.png", say[m]) for m in range(2)]) for n in range(4)}
    pictures = {f"{n}{m}.png": picture(n // 2) for n in range(4) for m in range(2)}
    site = write_site(tmp_path / "site", pages, pictures)
    found = []
    for most in (1, 100):
        out = tmp_path / str(most)
        curate([site], out, override(OFFLINE, [f"sources.part_files={most}", "pictures_a_part=3"]), Runner())
        found.append([rows(out, name) for name in SETS])
    assert len(found[0][2]) == 2
    assert found[0] == found[1]


def test_pages_of_a_list_are_fetched_by_host_and_every_row_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[str]] = []

    def fetch(urls, config, tombstones):  # type: ignore[no-untyped-def]
        wanted = list(urls)
        asked.append({urlsplit(url).hostname for url in wanted})
        for url in wanted:
            yield Fetched(url, None if "gone" in url else page(int(url[-1])).encode(), reason="http_404")

    monkeypatch.setattr(downloads, "fetch", fetch)
    rows_of_list = [f"https://{n % 3}.example:{443 + n % 2}/{n}" for n in range(9)] + ["none", "https://0.example/gone"]
    (tmp_path / "list.txt").write_text("\n".join(rows_of_list))
    sets = []
    for most in (2, 1000):
        asked.clear()
        out = tmp_path / str(most)
        curate([tmp_path / "list.txt"], out, override(PROFILES["mm1"], [f"sources.part_urls={most}"]), Runner())
        hosts = [host for part in asked for host in part]
        assert len(hosts) == len(set(hosts)) == 3
        found = counts(out)["extract", "page"]
        assert (found["in"], found["dropped"]) == (11, {"bad_url": 1, "http_404": 1})
        sets.append(sorted(row["url"] for row in rows(out, "text")))
    assert sets[0] == sets[1] == sorted(rows_of_list[:9])


def test_pictures_come_from_the_web_once_and_bad_ones_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    there = {"https://a.example/ok.png": picture(1), "https://b.example/half.png": picture(2)[:-300]}

    def fetch(urls, config, tombstones):  # type: ignore[no-untyped-def]
        for url in urls:
            asked.append(url)
            yield Fetched(url, there.get(url), reason="" if url in there else "http_404")

    monkeypatch.setattr(downloads, "fetch", fetch)
    names = [*there, "https://b.example/gone.png", "https://a.example/logo.png"]
    site = write_site(tmp_path / "site", {"p.html": page(1, map(image, names))}, {})
    out = tmp_path / "set"
    curate([site], out, PROFILES["mm1"], Runner())
    assert [urls(row) for row in rows(out, "interleaved")] == [["https://a.example/ok.png"]]
    assert counts(out)["addresses", "image"]["dropped"] == {"banned_url": 1}
    assert counts(out)["images", "image"]["dropped"] == {"corrupt": 1, "http_404": 1}
    assert sorted(asked) == sorted(names[:3])
    curate([site], out, override(PROFILES["mm1"], ["interleaved.images.min_side=90"]), Runner())
    assert sorted(asked) == sorted([*names[:3], names[2]]), "only what gave nothing is asked again by this fetch"


@pytest.mark.parametrize(("a_part", "times"), [(2048, 1), (3, 4)])
def test_many_hosts_of_few_pictures_take_turns_in_one_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_part: int, times: int
) -> None:
    asked: list[set[str]] = []

    def fetch(urls, config, tombstones):  # type: ignore[no-untyped-def]
        wanted = list(urls)
        asked.append({urlsplit(url).hostname for url in wanted})
        for url in wanted:
            yield Fetched(url, picture(int(urlsplit(url).path[1:-4])))

    monkeypatch.setattr(downloads, "fetch", fetch)
    names = [f"https://{number}.example/{number}.png" for number in range(12)]
    site = write_site(tmp_path / "site", {"p.html": page(1, map(image, names))}, {})
    out = tmp_path / "set"
    curate([site], out, override(PROFILES["mm1"], [f"pictures_a_part={a_part}"]), Runner())
    assert (len(asked), sum(map(len, asked))) == (times, 12)
    assert [urls(row) for row in rows(out, "interleaved")] == [names]


def test_pictures_that_stand_in_the_page_itself_are_understood(tmp_path: Path) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(picture(1)).decode()}"
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", {"p.html": page(1, [image(uri)])}, {})], out, OFFLINE, Runner())
    assert [images(row) for row in rows(out, "interleaved")] == [[picture(1)]]


def test_captions_come_from_pages_that_no_other_set_takes_and_each_image_has_one(tmp_path: Path) -> None:
    pages = {
        "gallery.html": "<body>" + image("a.png", "A red boat on a quiet lake") + image("b.png", "IMG_1234.jpg"),
        "other.html": "<body>" + image("a2.png", "The boat") + image("c.png", "Two children play chess in a park"),
    }
    pictures = {"a.png": picture(1), "a2.png": picture(1, 320, 240), "b.png": picture(2), "c.png": picture(3)}
    pages["third.html"] = "<body>" + image("a2.png", "A large red boat on a lake in the evening")
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", pages, pictures)], out, OFFLINE, Runner())
    said = {row["segments"][1]["text"]: urls(row) for row in rows(out, "captions")}
    assert said == {
        " Two children play chess in a park\n": ["local:c.png"],
        " A large red boat on a lake in the evening\n": ["local:a2.png"],
    }
    assert counts(out)["caption copies", "image of a page"]["dropped"] == {"repeated_image": 1}


def test_copies_of_a_gallery_give_one_pair_an_image_and_make_no_text_common(tmp_path: Path) -> None:
    gallery = "<body>" + image("a.png", "A red boat on a quiet lake") + image("b.png", "Two children play chess")
    pictures = {"a.png": picture(1), "b.png": picture(2)}
    out = tmp_path / "set"
    config = override(OFFLINE, ["captions.max_occurrences=1"])
    curate([write_site(tmp_path / "site", dict.fromkeys(["1.html", "2.html", "3.html"], gallery), pictures)],
           out, config, Runner())  # fmt: skip
    assert counts(out)["text rules", "page"]["out"] == 0, "no text to compare"
    assert sorted(urls(row) for row in rows(out, "captions")) == [["local:a.png"], ["local:b.png"]]
    assert counts(out)["caption copies", "image of a page"]["dropped"] == {"repeated_image": 4}


def test_a_step_into_which_nothing_comes_is_in_the_funnel(tmp_path: Path) -> None:
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", {"a.html": "<p>Short."}, {})], out, OFFLINE, Runner())
    found = counts(out)
    for step in (("duplicates", "page"), ("interleaved", "page"), ("interleaved", "image in a page"),
                 ("captions", "image of a page"), ("caption copies", "image of a page")):  # fmt: skip
        assert (found[step]["in"], found[step]["out"], found[step]["dropped"]) == (0, 0, {}), step


def test_images_of_texts_that_only_the_rules_of_captions_take_are_fetched_as_well(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", {"a.html": "<body>" + image("a.png", "Boats")}, {"a.png": picture(1)})
    out = tmp_path / "set"
    changes = ["captions.text.min_words=1", "captions.text.min_letters=1", "captions.text.languages=[]"]
    curate([site], out, override(OFFLINE, changes), Runner())
    assert [row["segments"][1]["text"] for row in rows(out, "captions")] == [" Boats\n"]


def test_a_text_that_stands_with_many_images_tells_of_none(tmp_path: Path) -> None:
    pages = {f"{n:02}.html": "<body>" + image(f"{n}.png", "View of our hotel by the sea") for n in range(11)}
    pages["one.html"] = "<body>" + image("x.png", "A red boat on a quiet lake")
    pictures = {f"{n}.png": picture(n) for n in range(11)} | {"x.png": picture(50)}
    out = tmp_path / "set"
    curate([write_site(tmp_path / "site", pages, pictures)], out, OFFLINE, Runner())
    assert [row["segments"][1]["text"] for row in rows(out, "captions")] == [" A red boat on a quiet lake\n"]
    assert counts(out)["captions", "image of a page"]["dropped"] == {"common": 11}


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    command = [sys.executable, "-m", "mm1.cli", "curate", str(PAGES), "--out", str(out), "--offline"]
    command += ["sources.part_files=3", "--processes", "2"]
    for step in ("texts", "images"):
        run = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not (out / "work" / step).exists() and run.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert not (out / "funnel.json").exists()
    done = {path.name for path in (out / "work" / "steps").iterdir() if path.suffix == ""}
    assert {name.partition("-")[0] for name in done} >= {"extract", "texts"}
    subprocess.run(command, check=True, capture_output=True)
    assert results(out) == results(made)


def test_offline_a_list_of_pages_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("https://a.example/page\nhttps://b.example/other\n")
    with pytest.raises(UserError, match=r"list\.txt lists addresses of pages.*leave --offline out"):
        curate([tmp_path / "list.txt"], tmp_path / "set", OFFLINE, Runner())


def test_a_step_whose_code_gives_something_else_is_done_anew_with_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digests() -> dict[str, str]:
        return {step.name: step.digest for step in Pipeline([], tmp_path, OFFLINE, Runner(), None).steps()}

    before = digests()
    assert set(before) <= set(VERSIONS)
    monkeypatch.setitem(VERSIONS, "images", VERSIONS["images"] + 1)
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {"images", "interleaved", "captions"}


@pytest.mark.parametrize(
    ("changes", "redone"),
    [
        (["fetch.robots=false"], {"extract", "images"}),
        (["fetch.opt_out=[]"], {"extract", "images"}),
        (["fetch.max_bytes=1000"], {"extract", "images"}),
        (["fetch.retries=0"], {"extract", "images"}),
        (["fetch.concurrency=8", "fetch.host_delay_seconds=3", "fetch.per_host=1", "fetch.max_waiting=9"], set()),
        (["download=false", "fetch.robots=false"], {"extract", "images"}),
    ],
)
def test_what_decides_what_is_fetched_redoes_the_steps_that_fetch(
    tmp_path: Path, changes: list[str], redone: set[str]
) -> None:
    (tmp_path / "list.txt").write_text("https://a.example/page\n")
    parts = list_parts([tmp_path / "list.txt"])

    def configs(*changes: str) -> dict[str, object]:
        config = override(PROFILES["mm1"], changes)
        return {step.name: step.config for step in Pipeline(parts, tmp_path, config, Runner(), None).steps()}

    before, after = configs(), configs(*changes)
    assert {name for name in before if before[name] != after[name]} == redone
    assert configs("download=false") == configs("download=false", "fetch.robots=false")


@pytest.mark.parametrize(
    ("alone", "ray", "listed", "processes"),
    [(10**6, None, False, 1), (10, None, False, 4), (10**6, "local", False, 4), (10**6, None, True, 4)],
)
def test_few_pages_start_no_processes_but_pictures_and_lists_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: int, ray: str | None, listed: bool, processes: int
) -> None:
    site = write_site(tmp_path / "site", {"a.html": page(1)}, {})
    (tmp_path / "list.txt").write_text("https://a.example/page\n")
    given: list[int] = []

    def map_parts(work: object, parts: object, folder: Path, runner: Runner, progress: object) -> list[object]:
        given.append(runner.processes)
        return []

    def look(*arguments: object) -> None:
        given.extend(-one.processes for one in arguments if isinstance(one, Runner))

    monkeypatch.setattr(pipeline, "map_parts", map_parts)
    monkeypatch.setattr(pipeline, "look_at_pictures", look)
    runner = Runner(processes=4, ray=ray, alone_bytes=alone)
    parts = list_parts([site, *([tmp_path / "list.txt"] if listed else [])])
    steps = {step.name: step for step in Pipeline(parts, tmp_path, PROFILES["mm1"], runner, None).steps()}
    for name in ("extract", "texts", "images"):
        steps[name].run(tmp_path)
    assert given == [processes, processes, -4]


def test_models_of_quality_that_moved_redo_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "digest", lambda folder: folder.read_text())
    (tmp_path / "one").write_text("same")
    (tmp_path / "two").write_text("same")
    (tmp_path / "other").write_text("other")

    def digests(name: str) -> list[str]:
        config = override(OFFLINE, [f"text.quality.model={tmp_path / name}"])
        return [step.digest for step in Pipeline([], tmp_path, config, Runner(), None).steps()]

    assert digests("one") == digests("two")
    assert digests("one") != digests("other")


@pytest.mark.parametrize("error", [errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK])
def test_sets_are_copied_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(error, os.strerror(error))

    sources, out = write_site(tmp_path / "site", {"a.html": page(1)}, {}), tmp_path / "set"
    monkeypatch.setattr(os, "link", link)
    curate([sources], out, OFFLINE, Runner())
    assert len(rows(out, "text")) == 1


def test_another_failure_of_a_link_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="No space"):
        curate([write_site(tmp_path / "site", {"a.html": page(1)}, {})], tmp_path / "set", OFFLINE, Runner())


@pytest.mark.parametrize("out", ["file", "file/set"])
def test_a_file_in_the_place_of_the_folder_of_sets_is_refused(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(
        UserError, match=r"file is a file, and the sets are written into a folder: choose another --out"
    ):
        curate([write_site(tmp_path / "site", {"a.html": page(1)}, {})], tmp_path / out, OFFLINE, Runner())


@pytest.mark.parametrize("name", ["text", "interleaved", "captions", "report.html"])
def test_what_somebody_else_has_in_the_folder_is_not_replaced(tmp_path: Path, name: str) -> None:
    sources, out = write_site(tmp_path / "site", {"a.html": page(1)}, {}), tmp_path / "set"
    out.mkdir()
    (out / name).write_text("precious")
    with pytest.raises(UserError, match=rf"{name} is in the way.*choose another --out"):
        curate([sources], out, OFFLINE, Runner())
    assert [path.name for path in out.iterdir()] == [name]
    (out / name).unlink()
    curate([sources], out, OFFLINE, Runner())
    curate([sources], out, OFFLINE, Runner())


@pytest.mark.parametrize("inner", ["", "set"])
def test_sets_are_not_made_among_the_pages_they_are_made_of(tmp_path: Path, inner: str) -> None:
    """The report would be a page of the next run, and every step done again."""
    sources = write_site(tmp_path / "site", {"a.html": page(1)}, {})
    with pytest.raises(UserError, match=r"lies in the source .*: choose an --out beside it"):
        curate([sources], sources / inner, OFFLINE, Runner())
    assert [path.name for path in sources.iterdir()] == ["a.html"]


def test_of_a_page_that_was_crawled_twice_the_later_loses_nothing_to_the_earlier(tmp_path: Path) -> None:
    """OBELICS drops the earlier before it counts paragraphs on a site, and sets of images."""
    shown = [f'<img src="data:image/png;base64,{base64.b64encode(picture(n, 200, 200)).decode()}">' for n in range(2)]
    texts = {n: prose(n) for n in range(8)}

    def crawled(url: str, image: int, *numbers: int) -> str:
        first, *rest = (f"<p>{texts[number]}</p>" for number in numbers)
        html = f"<html lang=en><body><main>{first}{shown[image]}{''.join(rest)}</main></body></html>"
        return json.dumps({"url": url, "html": html}) + "\n"

    site = "https://a.example"
    pages = crawled(f"{site}/y", 0, 5, 6, 7) + crawled(f"{site}/x", 0, 1, 2) + crawled(f"{site}/x", 1, 1, 2, 3, 4)
    (tmp_path / "s.jsonl").write_text(pages)
    out = tmp_path / "set"
    curate([tmp_path / "s.jsonl"], out, override(PROFILES["obelics"], ["download=false"]), Runner())
    found = {
        str(row["url"]): "\n\n".join(part["text"] for part in row["segments"] if part["text"])  # type: ignore[attr-defined]
        for row in rows(out, "interleaved")
    }
    kept = {f"{site}/y": (5, 6, 7), f"{site}/x": (1, 2, 3, 4)}
    assert found == {url: "\n\n".join(texts[n] for n in numbers) for url, numbers in kept.items()}
    assert counts(out)["interleaved", "page"]["dropped"] == {"repeated_address": 1}
