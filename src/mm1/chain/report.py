"""`report.html`: a whole run on one page that opens without a network, from what stands in the run folder.

    write_report(Path("runs/tiny"))    # runs/tiny/report.html

One file: style and drawings inline, pictures as `data:` addresses, no script. What has not run is said in its place.
Each section is a function from a Run to Markup in `page/`; this file puts them in order and knows nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mm1.chain.page.gallery import gallery
from mm1.chain.page.results import Run, read_evaluation, read_run
from mm1.chain.page.scores import best_gain, kind_tables, score_table, shot_curves
from mm1.chain.page.stages import stage_sections, time_section
from mm1.files import write_atomically
from mm1.report.document import document
from mm1.report.markup import DASH, Markup, count, duration, facts_list, points, table, tag, together

EVALUATIONS = "evaluations"
"""The folder of a run into which `mm1 eval` writes, unless told otherwise."""


def write_report(run_folder: Path) -> Path:
    """Writes `report.html` into `run_folder` and returns its path; an older one is replaced whole.

    Raises:
        UserError: `run_folder` is not a folder or holds nothing of a run.
    """
    path = run_folder / "report.html"
    write_atomically(path, page(read_run(run_folder)).encode())
    return path


def write_evaluation_page(folder: Path) -> Path:
    """Writes `report.html` into a folder of results: the scores, and what was asked and said.

    Raises:
        UserError: there are no results.
    """
    run, path = read_evaluation(folder), folder / "report.html"
    sections = [
        ("scores", "Scores", score_table(run)),
        ("shots", "What shots add", shot_curves(run)),
        ("kinds", "By kind of question", kind_tables(run)),
        ("pictures", "What it says of pictures", _gallery(run)),
    ]
    kicker, name = tag("p", "mm1 evaluation", class_="kicker"), folder.resolve().name
    header = tag("header", kicker, tag("h1", name), *(tag("p", note + ".", class_="missing") for note in run.notes))
    write_atomically(path, _document(f"{name}: mm1 evaluation", header, sections).encode())
    return path


def page(run: Run) -> Markup:
    """The whole document."""
    sections = [
        ("scores", "Scores", score_table(run)),
        ("shots", "What shots add", shot_curves(run)),
        ("kinds", "By kind of question", kind_tables(run)),
        ("stages", "Stages", stage_sections(run)),
        ("time", "Where the time went", time_section(run)),
        ("pictures", "What it says of pictures", _gallery(run)),
        ("setting", "Setting", _setting(run)),
    ]
    if (run.folder / EVALUATIONS / "report.html").is_file():
        sections.insert(3, ("evaluations", "Evaluations", _further()))
    return _document(f"{_recipe(run)}: mm1 run report", _header(run), sections)


def _document(title: str, header: Markup, sections: Sequence[tuple[str, str, Markup]]) -> Markup:
    return document(title, header, sections, files("mm1.chain").joinpath("page/report.css").read_text())


def _further() -> Markup:
    """Where the page of what was asked after the run is."""
    page_of = tag("a", "a page of their own", href=f"{EVALUATIONS}/report.html")
    return tag("p", "What this run's models were asked with `mm1 eval` is on ", page_of, ".", class_="note")


def _recipe(run: Run) -> str:
    return str(run.summary.get("recipe") or run.folder.resolve().name)


def _header(run: Run) -> Markup:
    summary = run.summary
    environment = summary.get("environment", {})
    trained = [stage.facts for stage in run.stages if stage.facts and "steps" in stage.facts]
    facts = facts_list(
        [
            ("date", str(environment.get("date") or DASH).replace("T", " ").replace("+00:00", " UTC")),
            ("parameters", count(summary.get("parameters", {}).get("total"))),
            ("time", duration(summary.get("seconds"))),
            ("tokens trained on", count(sum(facts.get("tokens", 0) for facts in trained) or None)),
            ("images trained on", count(sum(facts.get("images", 0) for facts in trained) or None)),
            ("hardware", _hardware(environment)),
        ]
    )
    notes = [tag("p", note + ".", class_="missing") for note in run.notes]
    kicker = tag("p", "mm1 run report", class_="kicker")
    return tag("header", kicker, tag("h1", _recipe(run)), facts, *notes, _lead(run))


def _hardware(environment: Mapping[str, Any]) -> str:
    if environment.get("gpu"):
        return str(environment["gpu"])
    return f"{environment['processor']}, {environment.get('cpus')} CPUs" if "processor" in environment else DASH


def _lead(run: Run) -> Markup:
    """The one sentence to take away."""
    if not run.scores:
        return Markup()
    gain = best_gain(run)
    if gain is None:
        said = "No task's score with shots lies above its score without by more than the two intervals."
        return tag("p", said, class_="lead")
    parts = [
        "Best few-shot gain: ",
        tag("b", gain.after.task),
        f" goes from {points(gain.before.score)} without examples to ",
        tag("b", points(gain.after.score)),
        f" with {gain.after.shots} in the prompt",
        tag("span", points(gain.size, sign=True), class_="gain best"),
    ]
    return tag("p", *parts, class_="lead")


def _gallery(run: Run) -> Markup:
    note = (
        "Held-out questions as the model read them: the worked examples small, the question on the tinted ground. They "
        "are chosen by hashes of their ids, right and wrong by turns: how many are right here is not the score."
    )
    return together([tag("p", note, class_="note"), gallery(run)])


def _setting(run: Run) -> Markup:
    parts = [(name, value) for name, value in run.summary.get("parameters", {}).items()]
    environment = _leaves(run.summary.get("environment", {}))
    blocks = []
    if parts:
        blocks.append(tag("section", tag("h3", "Parameters"), table(["Part", ""], [[n, count(v)] for n, v in parts])))
    if environment:
        rows = [[name, value] for name, value in environment]
        blocks.append(tag("section", tag("h3", "Environment"), table(["", ""], rows, class_="words")))
    if not blocks:
        return tag("p", "The summary records neither parameters nor environment.", class_="missing")
    return tag("div", *blocks, class_="columns")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as (dotted name, text)."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, str(value))]
    return found
