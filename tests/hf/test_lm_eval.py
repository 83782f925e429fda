"""An exported decoder in lm-eval's own harness, by its own `hf` model, without a network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import huggingface_hub
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from mm1.cli.main import main
from mm1.eval.model import MM1Model
from mm1.generate.engine import Engine
from mm1.types import Document, Text
from tests.hf.decoder_cases import TEXT, write_folder
from tests.sentence_piece import write_sentence_piece

VOCABULARY = 400
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
@pytest.mark.parametrize("prefix", [None, "normalizer"])
def test_lm_eval_scores_an_exported_decoder_as_mm1_does(
    prefix: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a byte-level tokenizer, and with one that puts a space before texts."""
    for settings in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(settings, "HF_HUB_OFFLINE", True)
    write_folder(tmp_path / "theirs", "llama", bos=True, vocab_size=VOCABULARY)
    if prefix is not None:
        special = {"bos_token": "<s>", "eos_token": "</s>"}
        write_sentence_piece(tmp_path / "theirs", TEXT * 4, prefix, special, bos=True)
    assert main(["import", "--decoder", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 0
    assert main(["export", str(tmp_path / "ours"), str(tmp_path / "plain"), "--decoder-only"]) == 0
    samples, model = _ask_lm_eval(tmp_path), _ours(tmp_path / "ours")
    assert [sample["doc"]["question"] for sample in samples] == [row["question"] for row in QUESTIONS]
    for row, sample in zip(QUESTIONS, samples, strict=True):
        theirs = torch.tensor([float(response[0]) for response in sample["filtered_resps"]])
        document = Document("question", (Text(row["question"]),))
        ours = torch.tensor(model.loglikelihood([(document, choice) for choice in row["choices"]]))
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


def _ours(checkpoint: Path) -> MM1Model:
    """As MM1Model.load, but only ids that the import added have no share, as lm-eval gives all others one."""
    model = MM1Model.load(checkpoint)
    added = range(VOCABULARY, model.engine.model.config.decoder.vocab_size)
    return replace(model, engine=Engine(model.engine.model, eos_id=model.engine.eos_id, banned_ids=added))
