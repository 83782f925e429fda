"""`mm1 score`, as it is typed."""

import json
from pathlib import Path

import pytest

from mm1.cli.main import EXIT_USER_ERROR, main


def test_captions_print_a_table_and_write_fractions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, out = tmp_path / "in.json", tmp_path / "out.json"
    pairs = {"a": "a red dog runs fast", "b": "the cat sits on a mat"}
    references = {**{id: [text] for id, text in pairs.items()}, "c": ["a bird"]}
    asked.write_text(json.dumps({"references": references, "candidates": pairs}))
    assert main(["score", "captions", str(asked), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["cider"] == pytest.approx(10)
    printed = capsys.readouterr().out
    assert "1000.00" in printed
    assert "1 without an answer or references, left out" in printed


def test_vqa_is_scored_by_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, out = tmp_path / "in.json", tmp_path / "out.json"
    question = {"id": 1, "answers": ["yes"] * 3 + ["no"] * 7, "prediction": "yes", "answer_type": "yes/no"}
    asked.write_text(json.dumps({"questions": [question]}))
    assert main(["score", "vqa", str(asked), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["questions"] == {"1": pytest.approx(0.9)}
    assert "answer_type yes/no  90.00" in capsys.readouterr().out


def test_a_folder_in_the_place_of_the_answers_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "captions", str(tmp_path)]) == EXIT_USER_ERROR
    assert capsys.readouterr().err.startswith(f"mm1: {tmp_path}: Is a directory; give a file instead (")


def test_no_folder_for_the_scores_is_said_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = tmp_path / "in.json"
    asked.write_text("{}")
    assert main(["score", "vqa", str(asked), "--out", str(tmp_path / "none" / "out.json")]) == EXIT_USER_ERROR
    assert "there is no folder" in capsys.readouterr().err
