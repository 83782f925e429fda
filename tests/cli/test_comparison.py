"""The paper's table beside one's own rows."""

import io
from typing import Any

import pytest
from rich.console import Console

from mm1.cli.comparison import comparison, notes, ratios
from mm1.cli.tables import show
from mm1.config import UserError
from mm1.eval.published import COLUMNS, HEADS, PUBLISHED, rows_for
from mm1.eval.results import Result


def result(task: str, shots: int, score: float, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "task": task, "shots": shots, "score": score, "low": score, "high": score, "n": 90, "missing": {},
        "shortened": 0, "chance": 0.0, "by_kind": {}, "by_seed": {}, "deviation": None, "metric": "m", "figures": {},
        "mode": "generate", "conditions": {}, "blind": False, "seed": 0, "model": "m", "version": "v",
        "asked": "a", "fingerprint": "f", "seconds": 1.0,
    }  # fmt: skip
    return Result(**{**values, **changes})


def lines(*results: Result) -> list[list[str]]:
    written = io.StringIO()
    Console(width=200, file=written).print(*comparison(results))
    return [line.split() for line in written.getvalue().splitlines()]


def test_own_rows_stand_above_the_published_ones_of_as_many_shots() -> None:
    _, head, *rows = lines(
        result("ok_vqa", 8, 0.484, deviation=0.012), result("coco_captions", 8, 1.146), result("mine", 8, 0.5)
    )
    assert head == ["model", "shots", "COCO", "OK-VQA", "mine", "certainty"]
    assert rows[0] == ["this", "model", "8", "114.6", "48.4", "±", "1.2", "50.0"]
    assert ["MM1-3B", "8", "114.6", "48.4", "found"] in rows
    assert ["Flamingo-9B", "8", "99.0", "50.0", "found"] in rows
    assert not [row for row in rows if row[:1] == ["Emu2-14B"]], "it has neither"


def test_another_way_of_asking_has_a_row_of_its_own_and_blind_runs_none() -> None:
    rows = lines(
        result("vqav2", 4, 0.5), result("vqav2-nearest-text_only", 4, 0.25), result("vqav2", 4, 0.9, blind=True)
    )
    own = [row for row in rows if row[:1] == ["this"]]
    assert own == [["this", "model", "4", "50.0"], ["this", "model,", "nearest,", "text_only", "4", "25.0"]]


def test_what_is_missing_is_told_in_a_line() -> None:
    told = notes(
        [result("vqav2", 4, 0.5, missing={"no answer": 8, "missing image": 2}, shortened=3), result("x", 0, 1)]
    )
    assert told == [
        "vqav2, 4 shots: 10 of 100 questions are missing (8 with 'no answer', 2 with 'missing image')",
        "vqav2, 4 shots: 3 prompts went without their oldest shots to fit the model",
    ]


def test_every_published_row_says_how_certain_it_is() -> None:
    assert {row.shots for row in PUBLISHED} == {0, 4, 8, 16}
    for row in PUBLISHED:
        assert row.certainty.startswith(("found", "recalled", "VQAv2"))
        assert len(row.scores) == len(COLUMNS)
        assert row.text_shots == (row.shots == 0 and not row.model.startswith("MM1"))
    assert [row.model for row in rows_for(4)] == ["Flamingo-3B", "MM1-3B", "MM1-7B"], "MM1-30B's is not known"


def test_figures_that_are_no_means_are_noted() -> None:
    mme = result("mme", 0, 0.8, figures={"perception": 1482.5, "existence": 195.0})
    assert notes([mme]) == ["mme, 0 shots: perception 1,482, existence 195"]


EIGHT = ("coco_captions", "nocaps", "textcaps", "vqav2", "textvqa", "vizwiz", "ok_vqa", "gqa")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_many_benchmarks_are_several_tables_that_fit_and_say_the_same(width: int) -> None:
    results = [result(name, shots, 0.123, deviation=0.01) for name in EIGHT for shots in (0, 4, 8, 16)]
    tables = comparison(results, width)
    assert len(tables) > 1
    written = io.StringIO()
    Console(width=width, file=written).print(*tables)
    said = written.getvalue().splitlines()
    assert max(map(len, said)) <= width
    assert not [line for line in said if "…" in line]
    assert sum(line.count("12.3 ± 1.0") for line in said) == len(results), "no cell is broken"
    heads = [cell for line in said if line.startswith("model ") for cell in line.split()]
    assert [head for head in heads if head not in ("model", "shots", "certainty")] == [*HEADS, "gqa"]
    assert len(comparison(results)) == 1


def test_a_row_is_a_line_in_a_pipe() -> None:
    results = [result(name, 8, 0.5) for name in EIGHT]
    written = io.StringIO()
    show(Console(file=written, width=40), *comparison(results))
    rows = [line for line in written.getvalue().splitlines() if line.startswith("MM1-30B")]
    assert [row.split() for row in rows] == [
        ["MM1-30B", "8", "123.1", "111.6", "92.9", "70.9", "49.4", "49.9", "58.3", "found"]
    ]


def test_the_mean_of_ratios_to_a_baseline_is_over_what_both_were_asked() -> None:
    ours = [result("mme", 0, 0.6), result("pope", 0, 0.9), result("mmmu", 0, 0.4), result("pope", 0, 0.1, blind=True)]
    theirs = [result("mme", 0, 0.5), result("pope", 0, 0.9), result("gqa", 0, 0.4), result("mmmu", 4, 0.4)]
    said = ratios(ours, theirs, "base")
    assert said == "Mean of ratios to base: 1.100 over mme (0), pope (0); not there: mmmu (0)"
    with pytest.raises(UserError, match=r"base has no result of mme \(0\), .* only of nothing"):
        ratios(ours, [], "base")
    with pytest.raises(UserError, match="the baseline's mme"):
        ratios(ours, [result("mme", 0, 0.0)], "base")
