"""`mm1 curate recaption` as it is typed."""

import json
from pathlib import Path

import pytest

from mm1.cli import main
from tests.curation.recaption.sets import checkpoint, rows, write_set
from tests.eval.chat_server import serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("models") / "eyes")


def test_the_command_captions_a_set(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_set(tmp_path / "set", 6), tmp_path / "out"
    (tmp_path / "prompt").write_text("Join {caption} and {alt_text}\n")
    words = [
        "curate", "recaption", str(source), "--out", str(out), "--captioner", str(folder), "--fuser", str(folder),
        "--fuser-prompt", str(tmp_path / "prompt"), "--max-new-tokens", "6", "--device", "cpu", "--share", "1",
    ]  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "6 documents came in, 6 are in the set" in said
    assert f"mm1 prepare captions={out / 'recaptioned'}" in said
    found = rows(out)
    assert {(row["captioner_prompt"], row["captioner"].split()[0]) for row in found} == {("", "eyes")}
    assert {row["fuser_prompt"] for row in found if row["fuser"]} <= {"Join {caption} and {alt_text}"}
    record = json.loads((out / "recaption.json").read_text())
    assert record["captioner"]["digest"] == record["fuser"]["digest"]
    before = [path.read_bytes() for path in sorted((out / "recaptioned").iterdir())]
    assert main(words) == 0
    assert [path.read_bytes() for path in sorted((out / "recaptioned").iterdir())] == before


def test_the_command_asks_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text("secret")
    with serving() as server:
        server.says = lambda body: "a fine thing"
        words = ["curate", "recaption", str(write_set(tmp_path / "set", 3)), "--out", str(tmp_path / "out")]
        words += ["--captioner-address", server.address, "--captioner-model", "m", "--rate", "1000", "--share", "1"]
        assert main([*words, "--captioner-key-file", str(tmp_path / "key")]) == 0
    assert "3 with visual_caption" in capsys.readouterr().out
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert b"secret" not in b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no captioner is given"),
        (["--captioner-model", "m"], "--captioner-model is given, but neither --captioner nor --captioner-address"),
        (["--captioner-address", "http://x"], "without --captioner-model"),
        (["--captioner", "x", "--captioner-address", "http://x"], "give one of them"),
        (["--captioner", "nowhere"], "nowhere"),
        (["--captioner-address", "http://x", "--captioner-model", "m", "--rate", "0"], "per_second"),
        (["--captioner-address", "http://x", "--captioner-model", "m", "--at-once", "0"], "--at-once is 0"),
        (["--captioner-address", "http://x", "--captioner-model", "m", "--share", "2"], "share"),
        (["--captioner-address", "http://x", "--captioner-model", "m", "--fuser-prompt", "p"], "--fuser-prompt is"),
        (["--captioner-address", "x", "--captioner-model", "m"], "begin it with http"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_set(tmp_path / "set", 1)
    assert main(["curate", "recaption", str(source), "--out", str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said


def test_a_captioner_that_reads_only_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blind = checkpoint(tmp_path / "blind", images=False)
    source = write_set(tmp_path / "set", 1)
    assert main(["curate", "recaption", str(source), "--out", str(tmp_path / "out"), "--captioner", str(blind)]) == 2
    assert "reads text only" in capsys.readouterr().err
