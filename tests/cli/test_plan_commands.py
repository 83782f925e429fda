from __future__ import annotations

import json

import pytest

from mm1.cli.main import EXIT_USER_ERROR, main


def test_the_page_fits_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", "--gpus", "2", "--layout", "shard=2,microbatch_rows=2"]) == 0
    printed = capsys.readouterr().out
    tables = printed[printed.index("part ") :].splitlines()
    assert max(len(line.rstrip()) for line in tables) <= 80
    for word in ("fits: yes", "image encoder", "kept for the backward", "reduce-scatter", "in all"):
        assert word in printed


def test_json_is_one_object_and_takes_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    days = []
    for steps in (100, 200):
        assert main(["plan", "tiny", "--gpus", "1", "--json", f"pretrain.steps={steps}"]) == 0
        days.append(json.loads(capsys.readouterr().out)["days"])
    assert days[1] == pytest.approx(2 * days[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0"], "--gpus is 0"),
        (["--gpus", "2", "--gpu", "cpu"], "--gpus is 2"),
        (["--gpus", "1", "--gpu", "cpu", "--mfu", "0.4"], "--mfu has no meaning"),
        (["--gpus", "1", "--mfu", "40"], "as 0.4"),
        (["--gpus", "1", "--stage", "encoder"], "not clip"),
        (["--gpus", "1", "--gpu", "tpu"], "tpu is not known"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny", *arguments]) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
