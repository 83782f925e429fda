"""`mm1 curate` from what is typed to what is printed."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from mm1.cli.curate_commands import CurateProgress, bytes_of, funnel_table, sources_and_changes
from mm1.cli.main import main
from mm1.cli.tables import show
from mm1.config import UserError
from mm1.curation.funnel import Counts, Funnel
from tests.curation.site import page, picture, write_site


def test_pages_become_sets_and_the_next_command_prepares_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = '<img src="a.png" alt="A red boat on a quiet lake">'
    site = write_site(tmp_path / "site", {"a.html": page(1, [image]), "b.html": "<p>Short."}, {"a.png": picture(1)})
    out = tmp_path / "set"
    words = ["curate", str(site), "--out", str(out), "--offline", "--processes", "1", "text.rules.min_words=40"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "too_short 1" in said
    assert re.search(r"^ +1 document in .*/text$", said, re.MULTILINE)
    assert (out / "report.html").exists()
    steps = json.loads((out / "funnel.json").read_text())["steps"]
    assert all(step["in"] == step["out"] + sum(step["dropped"].values()) for step in steps)
    following = next(line for line in said.splitlines() if line.startswith("Next: mm1 "))
    assert main([*following.removeprefix("Next: mm1 ").split(), "--vocab-size", "300", "--processes", "1"]) == 0
    summary = json.loads((out / "shards" / "summary.json").read_text())
    assert (summary["documents"], summary["images"], summary["dropped"]) == (3, 2, {})


def test_lines_of_progress_say_what_they_count() -> None:
    said = io.StringIO()
    with CurateProgress(Console(file=said, width=80)) as progress:
        progress.of("texts")(1, 1, {"in": 1200})
        progress.of("images")(1, 1, {"in": 7})
    assert said.getvalue().split("\n") == [
        "   texts: 1 of 1 parts, 1,200 pages",
        "   images: 1 of 1 parts, 7 images",
        "",
    ]


def test_a_bar_names_a_step_as_soon_as_it_begins() -> None:
    said = io.StringIO()
    with CurateProgress(Console(file=said, width=80, force_terminal=True)) as progress:
        progress.of("texts")(1, 1, {"in": 1200})
        progress.of("images")
    assert "images" in said.getvalue()


def test_a_long_part_is_not_silence_where_there_is_no_terminal() -> None:
    said = io.StringIO()
    with CurateProgress(Console(file=said, width=80)) as progress:
        tell = progress.of("extract")
        tell(0, 3, {})
        progress.remind(59.0)
        assert said.getvalue() == ""
        progress.remind(61.0)
        progress.remind(100.0)  # less than a minute after
        progress.remind(122.0)
        tell(3, 3, {"in": 7})
    assert said.getvalue().split("\n") == [
        "   extract: 0 of 3 parts, 0 pages, at work for 1 min",
        "   extract: 0 of 3 parts, 0 pages, at work for 2 min",
        "   extract: 3 of 3 parts, 7 pages",
        "",
    ]


def a_funnel() -> Funnel:
    counts = Counts()
    counts.enter(10_000)
    for number, reason in enumerate(("repeated_paragraphs", "too_short", "words_without_letters", "a", "b")):
        counts.drop(reason, 1_800 - number)
    counts.drop("c", 10_000 - counts.dropped.total())
    return Funnel().then("text rules", "image of a page", counts)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_reason_keeps_its_number_at_any_width(width: int) -> None:
    said = io.StringIO()
    show(Console(file=said, width=width, force_terminal=True, color_system=None), funnel_table(a_funnel()))
    lines = said.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    reasons = list(a_funnel().steps[0].counts.to_json()["dropped"].items())
    for reason, number in [*reasons[:4], ("others", sum(number for _, number in reasons[4:]))]:
        assert any(f"{reason} {number:,}" in line for line in lines)


def test_in_a_pipe_a_step_is_a_line() -> None:
    said = io.StringIO()
    show(Console(file=said), funnel_table(a_funnel()))
    assert len(said.getvalue().splitlines()) == 3  # with the title and the head


def test_a_mistyped_rule_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curate", str(tmp_path), "--out", str(tmp_path / "o"), "text.rule.min_words=1"]) == 2
    assert "did you mean 'text.rules.min_words'?" in capsys.readouterr().err


def test_a_file_whose_name_looks_like_a_change_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("part=1").mkdir()
    paths, changes = sources_and_changes(["part=1", "text.near=null", "a/b=c.warc", "x.warc.gz"])
    assert [str(path) for path in paths] == ["part=1", "a/b=c.warc", "x.warc.gz"]
    assert changes == ["text.near=null"]


@pytest.mark.parametrize(("text", "size"), [("4GB", 4 << 30), ("512m", 512 << 20), ("1.5 TiB", 3 << 39), ("100", 100)])
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert bytes_of(text, "--memory") == size


def test_what_is_no_size_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^--memory is 'much': write a size as 4GB or 512MB$"):
        bytes_of("much", "--memory")
    with pytest.raises(UserError, match=r"write a size as 4GB"):
        bytes_of("9" * 400, "--memory")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--languages", "eng"], "'eng' is no language"),
        (["--languages", ""], "'' is no language"),
        (['captions.text.languages=["EN"]'], "'EN' is no language"),
        (["--languages", "de", "--profile", "obelics"], "for English alone"),
        (["text.quality.buckets=[]"], "'text.quality.buckets' is []: tuple should have at least 1 item"),
        (["interleaved.count=all"], "interleaved.count=all: 'interleaved.count' is 'all': input should be 'found' or"),
        (
            ["--profile", "obelics", "interleaved.images.min_side=0"],
            "interleaved.images.min_side=0: 'interleaved.images.min_side' is 0: input should be greater than or equal",
        ),
        (["interleaved.max_perplexity=9"], "unknown key 'interleaved.max_perplexity'"),
        (["text.qqqq=1"], "unknown key 'text.qqqq': the keys of 'text' are rules, languages,"),
        (["--memory", "0"], "--memory is '0': give at least 16MB"),
        (["--memory", "4096"], "--memory is '4096': give at least 16MB"),
    ],
)
def test_what_would_leave_nothing_or_end_never_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], told: str
) -> None:
    site = write_site(tmp_path / "site", {"a.html": page(1)}, {})
    assert main(["curate", str(site), "--out", str(tmp_path / "set"), "--offline", *option]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Rules" not in said, "classes are no words of a user"
    assert not (tmp_path / "set").exists()
