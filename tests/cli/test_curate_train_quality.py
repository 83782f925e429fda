"""`mm1 curate train-quality` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mm1.cli import main


def _write(path: Path, words: str) -> Path:
    lines = (
        json.dumps({"text": f"The {words} number {number} is here. It is {words} {number * 7}."})
        for number in range(400)
    )
    path.write_text("\n".join(lines))
    return path


def test_judges_are_trained_and_what_they_say_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, raw = _write(tmp_path / "good.jsonl", "stone harbour"), _write(tmp_path / "raw.jsonl", "cheap offer")
    out = tmp_path / "judges"
    words = ["curate", "train-quality", "vocab_size=300", "--good", str(good), "--raw", str(raw), "--out", str(out)]
    assert main([*words, "order=3"]) == 0
    said = capsys.readouterr().out
    assert "a 3-gram model" in said
    assert "median perplexity, raw:" in said
    assert "area under the classifier's curve: 1" in said
    assert f"text.quality.model={out}" in said
    assert json.loads((out / "quality.json").read_text())["order"] == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--good", "missing.jsonl"], "missing.jsonl is not there"), (["--good", "x", "vocab=3"], "vocab_size")],
)
def test_mistakes_are_one_sentence(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", "train-quality", *words, "--out", str(tmp_path / "judges")]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said
