"""lm-eval's own tasks on local rows with mm1 as its model: what it scores is what mm1's two calls say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mm1.config import UserError
from mm1.data.tokenizer import train_tokenizer
from mm1.eval.model import MM1Model
from mm1.eval.textcore import TASKS, average, textcore
from mm1.models.decoder import DecoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.types import Document, Text

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("default")  # what lm-eval and datasets deprecate is theirs

ROWS: dict[str, list[dict[str, Any]]] = {
    "arc_easy": [
        {"question": f"Which is red {n}?", "choices": {"text": ["sky", "blood", "milk"], "label": ["A", "B", "C"]},
         "answerKey": "ABC"[n % 3]} for n in range(6)
    ],
    "lambada_openai": [{"text": "the dog runs and the dog sits"}, {"text": "a red star and a red circle"}],
    "hellaswag": [
        {"ind": n, "activity_label": "Run", "ctx_a": "A man", "ctx_b": "he runs", "label": str(n % 2),
         "endings": ["fast.", "a blue square."]} for n in range(4)
    ],
    "triviaqa": [{"question": "What is red", "answer": {"aliases": ["blood", "the blood"]}}],
}  # fmt: skip
SPLITS = {task.name: task.split for task in TASKS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MM1Model:
    texts = ["which is red? blood milk sky\n", "the dog runs and a red circle sits. Question: Answer:"]
    tokenizer = train_tokenizer(iter(texts * 5), 320, tmp_path_factory.mktemp("t") / "tokenizer.json")
    torch.manual_seed(0)
    made = MM1(MM1Config(decoder=DecoderConfig(vocab_size=tokenizer.vocab_size, dim=32, num_layers=2, mlp_dim=64)))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
    return MM1Model.of(made, tokenizer, max_len=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks")
    for name, rows in ROWS.items():
        (root / name).mkdir()
        path = root / name / SPLITS[name]
        if name == "hellaswag":
            pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
        else:
            path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def result(model: MM1Model, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    out = tmp_path_factory.mktemp("out") / "textcore.json"
    found = textcore(model, "tiny", folder, out)
    assert json.loads(out.read_text()) == found
    return found


def test_every_task_whose_file_is_there_is_asked(result: dict[str, Any]) -> None:
    assert {name: values["n"] for name, values in result["tasks"].items()} == {n: len(r) for n, r in ROWS.items()}
    assert set(result["absent"]) == set(SPLITS) - set(ROWS)
    assert result["average"] is None
    for values in result["tasks"].values():
        assert 0 <= values["low"] <= values["score"] <= values["high"] <= 1
        assert (values["shots"], values["truncated"]) == (0, 0)


def test_a_choice_is_the_likelier_one(model: MM1Model, result: dict[str, Any]) -> None:
    right = 0
    for row in ROWS["arc_easy"]:
        asked = Document("q", (Text(f"Question: {row['question']}\nAnswer:"),))
        scores = model.loglikelihood([(asked, f" {choice}") for choice in row["choices"]["text"]])
        right += scores.index(max(scores)) == row["choices"]["label"].index(row["answerKey"])
    assert result["tasks"]["arc_easy"]["score"] == pytest.approx(right / len(ROWS["arc_easy"]))
    assert 0 < right < len(ROWS["arc_easy"])  # the labels go round, so that any favourite is right in two of six


def test_lambada_is_right_where_greedy_text_is(model: MM1Model, result: dict[str, Any]) -> None:
    right = 0
    for row in ROWS["lambada_openai"]:
        *words, last = row["text"].split(" ")
        said = model.generate([Document("q", (Text(" ".join(words)),))], 12, ())[0]
        right += said.startswith(f" {last}")
    assert result["tasks"]["lambada_openai"]["score"] == right / 2


def test_a_context_too_long_for_the_model_loses_its_beginning_and_is_counted(model: MM1Model, tmp_path: Path) -> None:
    (tmp_path / "lambada_openai").mkdir()
    row = {"text": "a red star " * 60 + "sits"}
    (tmp_path / "lambada_openai" / "test.jsonl").write_text(json.dumps(row) + "\n")
    found = textcore(model, "tiny", tmp_path, tmp_path / "out.json")
    assert found["tasks"]["lambada_openai"]["truncated"] == 1


def test_examples_come_from_a_training_file(model: MM1Model, tmp_path: Path) -> None:
    (tmp_path / "arc_easy").mkdir()
    for split in ("train", "test"):
        lines = "".join(json.dumps(row) + "\n" for row in ROWS["arc_easy"])
        (tmp_path / "arc_easy" / f"{split}.jsonl").write_text(lines)
    (tmp_path / "lambada_openai").mkdir()
    (tmp_path / "lambada_openai" / "test.jsonl").write_text(json.dumps(ROWS["lambada_openai"][0]) + "\n")
    found = textcore(model, "tiny", tmp_path, tmp_path / "out.json", shots=1, limit=2)
    shots = {name: (values["shots"], values["n"]) for name, values in found["tasks"].items()}
    assert shots == {"arc_easy": (1, 2), "lambada_openai": (0, 1)}
    assert found["limit"] == json.loads((tmp_path / "out.json").read_text())["limit"] == 2


def test_the_average_is_over_eight_and_arc_is_one_of_them() -> None:
    scores = {task.name: 0.5 for task in TASKS}
    assert average({**scores, "arc_easy": 0.9, "arc_challenge": 0.3, "webqs": 0.0}) == pytest.approx(
        (6 * 0.5 + 0.6) / 8
    )
    assert average({name: score for name, score in scores.items() if name != "piqa"}) is None


def test_no_files_are_said(model: MM1Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        textcore(model, "tiny", tmp_path / "none", tmp_path / "out.json")
    with pytest.raises(UserError, match="holds none of arc_easy/test"):
        textcore(model, "tiny", tmp_path, tmp_path / "out.json")


@pytest.mark.parametrize("content", ["rubbish", '{"question": "What?"}', ""])
def test_rows_that_are_not_its_authors_are_one_sentence(model: MM1Model, tmp_path: Path, content: str) -> None:
    (tmp_path / "sciq").mkdir()
    (tmp_path / "sciq/test.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"^sciq can not be asked from .*test.jsonl .*: put its authors' rows there$"):
        textcore(model, "m", tmp_path, tmp_path / "out.json")
