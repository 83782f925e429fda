"""One page, no network, nothing from the web as markup, every count in it."""

import io
import os
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from mm1.curation.funnel import Counts, Funnel
from mm1.curation.report import write_report
from mm1.curation.report.samples import address
from mm1.curation.samples import KEPT, Picture, Sample, Samples, thumbnail
from mm1.curation.statistics import Statistics

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)><!-- ]]> </style></article>\u202e"


class Tags(HTMLParser):
    """The elements and attributes of a page, as a browser would make them."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.unbalanced = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)


@pytest.fixture(scope="module")
def picture():
    made = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(made, "PNG")
    return thumbnail(made.getvalue())


@pytest.fixture(scope="module")
def page(tmp_path_factory, picture):
    counts = Counts()
    counts.enter(1_234_567)
    counts.keep(1_000_000)
    counts.drop("too_large", 234_560)
    counts.drop("too_deep", 7)
    nothing = Counts()
    funnel = Funnel().then("extract", "page", counts).then("fetch", "image", nothing)
    samples = Samples()
    for scheme in (
        "javascript:alert(1)//",
        "data:text/html,",
        "https://a.example/",
        "local:",
        "file:///",
        "JaVaScRiPt:",
    ):
        sample = Sample(
            scheme + EVIL, (EVIL, Picture(scheme + EVIL, EVIL, picture), Picture(scheme + EVIL, EVIL)), EVIL
        )
        samples.offer("extract", KEPT, scheme, lambda sample=sample: sample)
    samples.offer("extract", "too_large", EVIL, lambda: Sample("", ()))
    statistics = Statistics()
    for number in range(500):
        statistics.size("characters a page", number * 37)
        statistics.number("images a page", number % 30)
        statistics.word("language", EVIL if number % 3 else "en")
    statistics.size(EVIL, 0)
    statistics.size("one value", 12)
    path = tmp_path_factory.mktemp("out") / "report.html"
    write_report(funnel, samples, statistics, path, {"text": 9, "captions": 3, EVIL: 4}, {"profile": EVIL})
    return path.read_text()


def test_nothing_from_the_web_becomes_markup(page):
    tags = Tags(page)
    assert {tag for tag, _ in tags.found}.isdisjoint({"script", "iframe", "object", "form", "link", "base"})
    names = {name for tag, attributes in tags.found if tag != "svg" for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert (tags.unbalanced, tags.open) == ([], [])


def test_only_addresses_of_the_web_are_links_and_pictures_are_in_the_page(page):
    tags = Tags(page)
    links = [attributes["href"] for tag, attributes in tags.found if tag == "a"]
    assert all(link.startswith(("#", "https://a.example/")) for link in links)
    assert sum(link.startswith("https://") for link in links) == 2  # the page, and the picture that has no thumbnail
    sources = [attributes["src"] for tag, attributes in tags.found if tag == "img"]
    assert len(sources) == 6
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in tags.found)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " https://a.example", "HTTPSX://a", "//a.example", "", "data:,"]
)
def test_what_is_no_address_of_the_web_is_text(url):
    assert "<a " not in address(url)


def test_every_count_can_be_read_off(page):
    text = re.sub(r"<[^>]*>", " ", page)
    for said in (
        "1\u202f234\u202f567",
        "1\u202f000\u202f000",
        "234\u202f560",
        "too deep",
        "81.0\u202f%",
        "&lt;\u202f0.1\u202f%",
    ):
        assert said in text, said
    assert re.search(r"1\.23\s+M\s+pages gave\s+9\s+texts,\s+3\s+caption pairs\s+and\s+4", text)


def test_the_same_results_are_the_same_page(tmp_path, page):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        write_report(Funnel(), Samples(), Statistics(), tmp_path / str(number) / "report.html")
    one, other = ((tmp_path / str(number) / "report.html").read_text() for number in (1, 2))
    assert one.replace("<h1>1<", "<h1>2<").replace("<title>1:", "<title>2:") == other
    assert "No samples were kept." in one


def test_a_folder_whose_name_is_no_utf_8_has_a_report(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff") / "report.html"
    path.parent.mkdir()
    write_report(Funnel(), Samples(), Statistics(), path)
    assert "<h1>?</h1>" in path.read_text()


def test_reasons_without_a_colour_of_their_own_are_one_piece_and_pieces_are_proportional(tmp_path):
    counts = Counts()
    counts.enter(10_000)
    counts.keep(1_000)
    for number, dropped in enumerate([8_000, *[100] * 5, *[25] * 20]):
        counts.drop(f"reason_{number}", dropped)
    write_report(Funnel().then("rules", "page", counts), Samples(), Statistics(), tmp_path / "report.html")
    pieces = re.findall(r'<i class="([^"]*)" style="width:([^"]*)%">', (tmp_path / "report.html").read_text())
    first = pieces[: 1 + 6 + 1]
    assert first == [("kept", "10.00"), ("c1", "80.00"), *((f"c{n}", "1.00") for n in range(2, 7)), ("muted", "5.00")]


def test_bars_of_words_are_none_longer_than_the_panel(tmp_path):
    statistics = Statistics()
    for number in range(100):
        statistics.word("language", f"l{number:02d}")
    statistics.word("language", "l00")
    write_report(Funnel(), Samples(), statistics, tmp_path / "report.html")
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%", (tmp_path / "report.html").read_text())]
    assert max(widths) == widths[-1] == 100  # "92 others"
    assert widths[0] == pytest.approx(200 / 92, abs=0.01)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_of_a_thing_is_not_told_as_several(tmp_path, number):
    counts = Counts()
    counts.enter(number)
    counts.keep(number)
    path = tmp_path / "report.html"
    write_report(Funnel().then("extract", "page", counts), Samples(), Statistics(), path, {"text": number, "x": number})
    said = re.sub(r"<[^>]*>", "", path.read_text())
    s = "" if number == 1 else "s"
    assert f"{number} page{s} gave {number} text{s} and {number} document{s} of x." in said


def test_an_address_is_whole_and_its_end_stands_apart():
    url = "https://a.example/" + "folder/" * 9 + "page.html"
    assert re.sub(r"<[^>]*>", "", address(url)) == url.removeprefix("https://")
    assert address(url).endswith("folder/folder/page.html</span></a>")
