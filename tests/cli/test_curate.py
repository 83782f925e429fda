"""`mm1 curate` from what is typed to what is printed."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mm1.cli.curate_commands import CurateProgress, bytes_of, sources_and_changes
from mm1.cli.main import main
from mm1.config import UserError
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
