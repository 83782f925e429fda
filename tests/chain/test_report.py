"""The report is looked at as a reader would: the text of the page, its pictures, and what is missing from it."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from mm1.chain.page import gallery
from mm1.chain.page.results import read_run
from mm1.chain.page.scores import best_gain
from mm1.chain.report import write_evaluation_page, write_report
from mm1.config import UserError
from mm1.eval.episodes import Episode
from mm1.eval.runner import evaluate
from mm1.eval.tasks import Task, exact_match
from mm1.types import Document, Image, Text

HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp; $\\frac{1}{0}$"
COLOURS = ("red", "green", "blue", "olive")
SHOTS = (0, 2, 4)


class Page(HTMLParser):
    """What a browser would make of a page: elements with attributes, and the text outside <style>."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(path.read_text().replace("\u202f", " "))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [tag] if tag not in ("img", "meta") else []
        self.rows += [[]] if tag == "tr" else []
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data}".strip()


class Pupil:
    """Answers right from `needed` images on, and something hostile before; without seeing, always the same."""

    def __init__(self, answers: dict[str, str], needed: int) -> None:
        self.answers, self.needed = answers, needed

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        knows = [len(document.images) > self.needed for document in documents]
        return [f" {self.answers[d.id]}" if k else HOSTILE for d, k in zip(documents, knows, strict=True)]

    def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
        return [float(self.answers[document.id] in continuation) for document, continuation in pairs]


def picture(colour: str, number: int) -> Image:
    file = io.BytesIO()
    # A size of its own makes each picture another file.
    Picture.new("RGB", (8 + number % 8, 8 + number // 8), colour).save(file, "PNG")
    return Image(file.getvalue())


def task(name: str, header: str = "", episodes: int = 12) -> Task:
    made = []
    for number in range(episodes):
        colours = [COLOURS[(number + k) % 4] for k in range(1 + max(SHOTS))]
        *shots, query = [picture(colour, 10 * number + k) for k, colour in enumerate(colours)]
        shown = tuple((shot, Text(f" {colour}\n")) for shot, colour in zip(shots, colours, strict=False))
        made.append(
            Episode(
                id=f"{name}/{number}",
                header=(Text(header),) if header else (),
                shots=shown,
                query=(query,),
                references=(colours[-1],),
                kind=f"{'warm' if number % 4 == 0 else 'cold'}{header}",
                chance=0.25,
            )
        )
    return Task(name=name, episodes=tuple(made), metric=exact_match)


def write_eval(folder: Path, header: str = "") -> None:
    tasks = [task("naming", header), task("easy")]
    answers = {episode.id: episode.references[0] for of in tasks for episode in of.episodes}
    evaluate(Pupil(answers, 3), tasks[:1], SHOTS, folder)
    evaluate(Pupil(answers, 0), tasks[1:], SHOTS, folder)
    evaluate(Pupil(answers, 99), tasks, SHOTS, folder, blind=True)


def log(steps: int = 40, source: str = "pages", **extra: float) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "loss": 4.0 * math.exp(-step / 20) + 1,
            "loss_by_source": {source: 4.0 * math.exp(-step / 20) + 1, "captions": 3.0 * math.exp(-step / 10) + 0.5},
            "target_tokens_by_source": {source: 600 * step, "captions": 300 * step},
            "learning_rate": 2e-3 * min(1, step / 5),
            "grad_norm": 1.0,
            "tokens": 1000 * step,
            "target_tokens": 900 * step,
            "images": 64 * step,
            "padding": 0.025,
            "seconds": 0.5 * step,
            "time": {"data": 0.01 * step, "compute": 0.4 * step, "optimizer": 0.05 * step, "checkpoint": 0.0},
            "skipped_steps": 0,
            **extra,
        }
        for step in range(1, steps + 1)
    ]


def write_stage(folder: Path, rows: list[dict[str, Any]], finished: bool = True, source: str = "pages") -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    last = rows[-1]
    facts = {
        **{key: last[key] for key in ("seconds", "tokens", "target_tokens", "images", "time")},
        "fill": 0.975,
        "padding": 0.025,
        "steps": last["step"],
        "tokens_per_second": 2000.0,
        "images_per_second": 128.0,
        "data_share": 0.02,
        "declared": {source: 0.5, "captions": 0.5},
        "realised": {source: 0.512, "captions": 0.488},
        "epochs": {source: 0.31, "captions": 2.5},
        "parameters": {"image_encoder": 400_000, "decoder_non_embedding": 800_000, "total": 1_240_000},
        "dropped": {"not an image": 3},
        "precision": "bf16",
    }
    if finished:
        (folder / "stage.json").write_text(json.dumps(facts))


def write_summary(folder: Path, **more: Any) -> None:
    stages = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/stage.json"))}
    summary = {
        "recipe": "tiny",
        "seconds": 312.0,
        "stages": {"prepare": {"seconds": 12.5, "documents": 4000, "images": 5000, "tokens": 90_000}, **stages},
        "parameters": {"image_encoder": 400_000, "total": 1_240_000},
        "eval": {},
        "environment": {"date": "2026-02-03T10:20:30+00:00", "processor": "A Fast One", "cpus": 2, "gpu": None},
    }
    (folder / "summary.json").write_text(json.dumps({**summary, **more}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_stage(folder / "encoder", log(accuracy=0.8))
    write_stage(folder / "pretrain", log())
    write_eval(folder / "eval", header="name it.\n")
    write_summary(folder)
    return folder


@pytest.fixture(scope="module")
def page(finished: Path) -> Page:
    return Page(write_report(finished))


def test_is_one_file_without_network_or_script(page: Page, finished: Path) -> None:
    addresses = [value for _, of in page.elements for key, value in of.items() if key in ("src", "href", "xlink:href")]
    assert addresses
    assert all(address and address.startswith(("data:image/", "#")) for address in addresses)
    assert not [name for name, _ in page.elements if name in ("script", "link", "iframe", "object", "base", "form")]
    policy = next(of["content"] for name, of in page.elements if name == "meta" and "http-equiv" in of)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "url(" not in (finished / "report.html").read_text().replace("url(#", "")


def test_elements_close_in_order_and_names_are_unique(page: Page) -> None:
    assert page.open == []
    names = [of["id"] for _, of in page.elements if "id" in of]
    assert len(set(names)) == len(names), "drawings or sections share an id"


def test_the_head_says_what_was_run(page: Page) -> None:
    for words in ("tiny", "2026-02-03 10:20:30 UTC", "1.24 M", "5 min 12 s", "A Fast One, 2 CPUs", "80.0 k"):
        assert words in page.text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    write_stage(tmp_path / "pretrain", log(source=HOSTILE), source=HOSTILE)
    write_eval(tmp_path / "eval", header=HOSTILE)
    write_summary(tmp_path, recipe=HOSTILE, environment={HOSTILE: {HOSTILE: HOSTILE}})
    page = Page(write_report(tmp_path))
    assert not [name for name, _ in page.elements if name == "script"]
    assert not [key for _, of in page.elements for key in of if key.startswith("on")]
    assert page.open == []
    assert page.text.count("<script>alert(1)</script>") > 30


def test_scores_stand_with_interval_chance_and_blind(page: Page) -> None:
    # Right from the fourth picture on: never with 0 and 2 shots, always with 4.
    never, always = "0.0 0.0–0.0", "100.0 100.0–100.0"
    assert ["naming exact match", never, never, always, "+100.0 at 4", "25.0", "0.0", "12"] in page.rows


def test_a_score_no_better_than_blind_is_grey(page: Page) -> None:
    grey = [of for name, of in page.elements if name == "td" and of.get("class") == "score unsure"]
    assert len(grey) == 2, "naming with 0 and with 2 shots"


def test_the_best_gain_is_the_largest(finished: Path) -> None:
    gain = best_gain(read_run(finished))
    assert gain is not None
    assert (gain.after.task, gain.after.shots, gain.size) == ("naming", 4, 1.0)


def test_curves_mixture_and_time_of_each_stage(page: Page) -> None:
    drawn = [of["aria-label"] or "" for name, of in page.elements if name == "svg"]
    for stage in ("encoder", "pretrain"):
        for title in ("loss by source", "learning rate", "tokens/s", "images/s", "padding computed, %"):
            assert f"{stage}: {title}" in drawn
    assert "encoder: accuracy" in drawn
    assert "pretrain: accuracy" not in drawn
    assert ["captions", "50.0 %", "48.8 %", "2.5", "12.0 k"] in page.rows
    bars = [of["aria-label"] or "" for name, of in page.elements if of.get("class") == "bar"]
    assert "pretrain: realised shares" in bars
    assert "pretrain: data 0.4 s, compute 16 s, optimizer 2.0 s, checkpoint 0.0 s" in bars
    assert "everything else" in page.text, "312 s are more than the stages' 12.5 + 20 + 20"


def test_cards_show_prompts_answers_and_truth_right_and_wrong(page: Page) -> None:
    cards = [of["class"] for name, of in page.elements if name == "article"]
    assert len(cards) == 2 * len(SHOTS) * gallery.CARDS
    assert {"card right", "card wrong"} == set(cards)
    shots = [of for name, of in page.elements if name == "div" and of.get("class") == "shot"]
    assert len(shots) == 2 * gallery.CARDS * sum(SHOTS)
    pictures = [of for name, of in page.elements if name == "img"]
    assert len(pictures) == len(cards) + len(shots)
    assert all((of["src"] or "").startswith("data:image/png;base64,") for of in pictures)
    assert "modelredtruthred" in page.text


def test_a_folder_of_results_alone_has_a_page_that_the_runs_page_names(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert "evaluations/report.html" not in write_report(run).read_text()
    shutil.copytree(run / "eval", run / "evaluations")
    result = run / "evaluations/naming-2shot.json"
    values = json.loads(result.read_text())
    result.write_text(json.dumps({**values, "deviation": 0.0123, "missing": {"missing image": 3}, "shortened": 5}))
    page = Page(write_evaluation_page(run / "evaluations"))
    assert ("h1", {}) in page.elements
    assert "± 1.2 between seeds" in page.text
    assert "3 missing" in page.text
    assert "5 without their oldest shots" in page.text
    assert any(tag == "img" for tag, _ in page.elements)
    links = [attributes.get("href") for tag, attributes in Page(write_report(run)).elements if tag == "a"]
    assert "evaluations/report.html" in links
    with pytest.raises(UserError, match="holds no results"):
        write_evaluation_page(run / "pretrain")


def test_cards_are_those_of_the_first_seed(tmp_path: Path) -> None:
    write_eval(tmp_path / "eval")
    path = tmp_path / "eval/naming-2shot.samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    others = [{**line, "seed": 7, "output": "of another seed\u2028"} for line in lines]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [*lines, *others]))
    text = Page(write_report(tmp_path)).text
    assert "of another seed" not in text
    assert "cannot be read" not in text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    rows = log(6)
    write_stage(tmp_path / "encoder", rows, finished=False)
    with (tmp_path / "encoder/metrics.jsonl").open("a") as file:
        file.write(json.dumps({**rows[3], "loss": float("nan"), "loss_by_source": {}}) + '\n{"step": 7, "lo')
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "tiny", "encoder": {"steps": 9}, "sft": {"steps": 9}}))
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/broken-0shot.json").write_text('{"task": ')
    text = Page(write_report(tmp_path)).text
    for said in (
        "summary.json is not there",
        "stage.json is not there: the stage has not finished; the curves end at its step 6",
        "1 line(s) of metrics.jsonl cannot be read",
        "broken-0shot.json cannot be read",
        "This stage has not run",
        "Nothing has been evaluated",
        "No samples were kept",
        "No finished stage has recorded its time",
        "mixture is not recorded",
    ):
        assert said in text
    assert len(read_run(tmp_path).stages[0].metrics) == 6, "a step logged again after a resume counts once"


WRONG = [5, "x", [1], {"a": "b"}, {"a": {"b": [1]}}, None, True, 1e999]


@pytest.mark.parametrize("wrong", WRONG, ids=map(repr, WRONG))
def test_values_of_another_kind_do_not_stop_the_report(wrong: Any, tmp_path: Path) -> None:
    """As of a run of another version, or edited by hand."""
    run, bare = tmp_path / "run", tmp_path / "bare"
    rows = log(3)
    write_stage(run / "encoder", [*rows, dict.fromkeys(rows[0], wrong) | {"step": 4}])
    facts = json.loads((run / "encoder/stage.json").read_text())
    (run / "encoder/stage.json").write_text(json.dumps(dict.fromkeys(facts, wrong)))
    write_summary(run)
    page = Page(write_report(run))
    assert page.open == []
    if wrong == "x":
        assert "stage.json holds values that no run writes" in page.text
    bare.mkdir()
    summary = json.loads((run / "summary.json").read_text())
    for changed in ({**summary, key: wrong} for key in summary):
        (bare / "summary.json").write_text(json.dumps(changed))
        assert Page(write_report(bare)).open == []
    if wrong == "x":
        assert "summary.json holds values that no run writes" in Page(write_report(bare)).text


def test_unreadable_pictures_do_not_stop_the_report(tmp_path: Path) -> None:
    write_eval(tmp_path / "eval")
    for path in (tmp_path / "eval/images").iterdir():
        path.write_bytes(b"\x89PNG, but torn")
    assert "(a picture that cannot be read)" in Page(write_report(tmp_path)).text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no summary"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        write_report(tmp_path / "nowhere")
    assert not (tmp_path / "report.html").exists()


def test_the_same_run_gives_the_same_page(finished: Path) -> None:
    first = write_report(finished).read_bytes()
    assert write_report(finished).read_bytes() == first
