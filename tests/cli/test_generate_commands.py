"""`mm1 generate`, as it is typed."""

import json
from pathlib import Path

import pytest
import torch

from mm1.checkpoint import CheckpointConfig, save_checkpoint
from mm1.cli.main import EXIT_USER_ERROR, main
from mm1.data.tokenizer import train_tokenizer
from mm1.models.decoder import DecoderConfig
from mm1.models.mm1 import MM1, MM1Config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = train_tokenizer(iter(["a red circle\n", "a blue square\n"] * 5), 290, folder / "tokenizer.json")
    config = MM1Config(decoder=DecoderConfig(vocab_size=tokenizer.vocab_size, dim=16, num_layers=1, mlp_dim=32))
    torch.manual_seed(0)
    return save_checkpoint(folder / "made", CheckpointConfig(model=config), MM1(config), tokenizer.path).folder


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    rows = [{"id": name, "segments": [{"type": "text", "text": f"{name} circle"}]} for name in ("a", "b")]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    return path


def test_a_file_is_continued_and_a_second_call_asks_nothing(
    checkpoint: Path, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    typed = ["generate", str(checkpoint), str(documents), "--out", str(out), "--max-new-tokens", "3", "--logprobs"]
    typed += ["--temperature", "1", "--top-k", "9", "--seed", "4", "--stop", r"\n", "--device", "cpu"]
    assert main(typed) == 0
    printed = capsys.readouterr().out
    assert "2 documents continued, 0 were there before" in printed
    assert "1 not: invalid JSON" in printed
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in written[:2]] == ["a", "b"]
    assert all(1 <= len(line["tokens"]) <= 3 or line["finish_reason"] == "eos" for line in written[:2])
    assert main(typed) == 0
    assert "0 documents continued, 2 were there before" in capsys.readouterr().out
    assert [json.loads(line) for line in out.read_text().splitlines()] == written


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--top-p", "2"], "mm1: --top-p is 2.0: input"),
        (["--temperature", "-1"], "mm1: --temperature is -1.0: input"),
        (["--max-new-tokens", "0"], "mm1: --max-new-tokens is 0: input"),
        (["--seed", "9" * 23], "mm1: --seed is 99999999999999999999999: input should be less than"),
        (["--device", "abacus"], "--device is 'abacus'"),
        (["--max-len", "0"], "--max-len is 0: give at least 1"),
        (["--stage", "sft"], "is no run folder"),
    ],
)
def test_mistakes_are_one_sentence(
    typed: list[str], said: str, checkpoint: Path, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.jsonl")
    assert main(["generate", str(checkpoint), str(documents), "--out", out, *typed]) == EXIT_USER_ERROR
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("content", "said"), [(b"\xff\0\n{", "could be continued: see"), (b"", "is empty: give")])
def test_a_file_without_a_document_is_no_success(
    content: bytes, said: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    out = tmp_path / "out.jsonl"
    assert main(["generate", str(checkpoint), str(tmp_path / "in.jsonl"), "--out", str(out)]) == EXIT_USER_ERROR
    assert said in capsys.readouterr().err
    assert all("error" in json.loads(line) for line in out.read_text().splitlines())


def test_in_bfloat16_it_is_another_models_text_rounded_otherwise(
    checkpoint: Path, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    typed = ["generate", str(checkpoint), str(documents), "--out", str(out), "--max-new-tokens", "1", "--logprobs"]
    assert main([*typed, "--device", "cpu"]) == 0
    whole = [json.loads(line) for line in out.read_text().splitlines()]
    capsys.readouterr()
    assert main([*typed, "--device", "cpu", "--dtype", "bfloat16"]) == 0
    assert "2 documents continued, 0 were there before" in capsys.readouterr().out
    rounded = [json.loads(line) for line in out.read_text().splitlines()]
    for a, b in zip(whole[:2], rounded[:2], strict=True):
        assert a["asked"] != b["asked"]
        assert a["logprobs"] != b["logprobs"] or not a["logprobs"]
        assert a["logprobs"] == pytest.approx(b["logprobs"], abs=0.1)
