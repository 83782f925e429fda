"""An exported decoder in lm-eval's own harness, by its own `hf` model, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import huggingface_hub
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from mm1.checkpoint import open_checkpoint
from mm1.cli.main import main
from mm1.models.attention import AttentionMask
from tests.hf.decoder_cases import write_folder

QUESTIONS = [
    {"question": "how many squares are there?", "choices": [" two", " red", " blue circle"], "answer": 0},
    {"question": "a red circle stands left of", "choices": [" how", " a blue square"], "answer": 1},
    {"question": "naïve", "choices": [" café", " 日本", " 🙂"], "answer": 2},
]
TASK = """\
task: tiny
dataset_path: json
dataset_kwargs:
  cache_dir: {cache}
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
target_delimiter: ""
metric_list:
  - metric: acc
"""


@pytest.mark.filterwarnings("default")  # what lm-eval and datasets deprecate is theirs
def test_lm_eval_scores_an_exported_decoder_as_mm1_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(settings, "HF_HUB_OFFLINE", True)
    write_folder(tmp_path / "theirs", "llama", bos=True)
    assert main(["import", "--decoder", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 0
    assert main(["export", str(tmp_path / "ours"), str(tmp_path / "plain"), "--decoder-only"]) == 0
    samples = _ask_lm_eval(tmp_path)
    assert [sample["doc"]["question"] for sample in samples] == [row["question"] for row in QUESTIONS]
    for row, sample in zip(QUESTIONS, samples, strict=True):
        theirs = torch.tensor([float(response[0]) for response in sample["filtered_resps"]])
        ours = torch.tensor([_loglikelihood(tmp_path / "ours", row["question"], choice) for choice in row["choices"]])
        assert (theirs - ours).abs().max() < 1e-3, row
        assert sample["acc"] == float(ours.argmax() == row["answer"])


def _ask_lm_eval(folder: Path) -> list[dict]:
    """What lm-eval logs of each question."""
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "tiny.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    (tasks / "tiny.yaml").write_text(TASK.format(file=tasks / "tiny.jsonl", cache=folder / "cache"))
    results = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder / "plain")},
        tasks=["tiny"],
        device="cpu",
        batch_size=2,
        bootstrap_iters=0,
        # Without the harness's own tasks: to list those takes longer than all else here.
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
    )
    return sorted(results["samples"]["tiny"], key=lambda sample: sample["doc_id"])


@torch.no_grad()
def _loglikelihood(checkpoint: Path, prompt: str, continuation: str) -> float:
    """Of the continuation's tokens after the prompt's, by mm1's own decoder and tokenizer."""
    ours = open_checkpoint(checkpoint)
    model, tokenizer = ours.load_model(), ours.tokenizer
    assert tokenizer.bos_id is not None
    start = [tokenizer.bos_id, *tokenizer.encode(prompt)]
    ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(prompt + continuation)]])
    assert ids[0, : len(start)].tolist() == start, "the prompt's end and the continuation's beginning are one token"
    positions, mask = torch.arange(ids.shape[1])[None], AttentionMask.from_segments(torch.zeros_like(ids))
    hidden = model.decoder(model.decoder.embed(ids), positions, mask).hidden
    scores = model.logits(hidden).log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])
    return float(scores[len(start) - 1 :].sum())
