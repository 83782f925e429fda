"""`mm1 textcore`: mistakes, before anything heavy is loaded. What it scores is tested with the tasks."""

from pathlib import Path

import pytest

from mm1.cli.main import EXIT_USER_ERROR, main


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--out", "none/here/out.json"], "there is no folder none/here"),
        (["--out", "out.json", "--limit", "0"], "--limit is 0: give at least 1"),
        (["--out", "out.json", "--shots", "-1"], "--shots is -1"),
        (["--out", "out.json"], "config.json does not exist"),
    ],
)
def test_mistakes_are_one_sentence(
    typed: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["textcore", str(tmp_path), str(tmp_path), *typed]) == EXIT_USER_ERROR
    assert said in capsys.readouterr().err
