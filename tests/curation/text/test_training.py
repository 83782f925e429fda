"""From files of texts to a folder of judges, and what these say."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from mm1.config import UserError
from mm1.curation.text.characters import hash_words
from mm1.curation.text.perplexity import MAX_CHARACTERS, PerplexityModel, bucket, normalized
from mm1.curation.text.quality import Judgement, Quality, QualityRules, digest
from mm1.curation.text.training import TrainQualityConfig, train_quality

CONFIG = TrainQualityConfig(vocab_size=400)
NOUNS, VERBS = ["ship", "mason", "harbour", "storm", "path"], ["sees", "builds", "leaves", "finds"]


def _good(number: int) -> str:
    draw = random.Random(number)
    lines = f"The {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)} {draw.randint(1, 99)} times."
    return "\n\n".join(" ".join([lines] * draw.randint(1, 3)) for _ in range(4)) + f" {number}"


def _raw(number: int) -> str:
    words = _good(number).split()
    random.Random(number).shuffle(words)
    return " ".join(words) + " click here buy sale"


def _write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("quality")
    good = _write(root / "good.jsonl", [_good(number) for number in range(400)])
    raw = _write(root / "raw.jsonl", [_raw(number) for number in range(1000, 1400)])
    train_quality([good], [raw], root / "model", CONFIG)
    return root / "model"


def test_the_record_tells_good_from_raw(folder: Path) -> None:
    record = json.loads((folder / "quality.json").read_text())
    figures = record["held_out"]
    assert figures["median perplexity, good"] < record["cutoffs"][0] < record["cutoffs"][1]
    assert record["cutoffs"][0] < figures["median perplexity, raw"] < record["cutoffs"][1]
    assert figures["area under the classifier's curve"] > 0.99
    assert (
        figures["share of good that the Pareto rule keeps"] > figures["share of raw that the Pareto rule keeps"] + 0.3
    )
    assert record["good_texts"] + record["raw_texts"] == pytest.approx(720, abs=30)


def test_training_is_deterministic(folder: Path, tmp_path: Path) -> None:
    train_quality([folder.parent / "good.jsonl"], [folder.parent / "raw.jsonl"], tmp_path / "again", CONFIG)
    assert digest(tmp_path / "again") == digest(folder)


def test_judges_drop_by_bucket_and_by_chance(folder: Path) -> None:
    quality = Quality(folder, QualityRules())
    good, raw = _good(5000), _raw(5001)
    liked, judged = quality.judge(good, hash_words(good)), quality.judge(raw, hash_words(raw))
    assert (liked.bucket, liked.score is not None and liked.score > 0.8) == ("head", True)
    assert judged.perplexity > liked.perplexity
    assert judged.score is not None
    assert judged.score < 0.2
    tail = Judgement(1e6, "tail", 1.0)
    assert quality.reason("page", tail) == "perplexity"
    kept = Quality(folder, QualityRules(buckets=("tail",), pareto_alpha=None))
    assert kept.reason("page", tail) is None
    assert kept.reason("page", liked) == "perplexity"
    reasons = [quality.reason(f"page-{number}", Judgement(1.0, "head", 0.0)) for number in range(2000)]
    assert set(reasons) == {None, "classifier"}
    assert reasons.count(None) < 20


def test_without_raw_texts_there_is_no_classifier(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    record = train_quality([folder.parent / "good.jsonl"], [], tmp_path / "model", CONFIG, said.append)
    assert record.held_out["share of good in head and middle"] == pytest.approx(0.95, abs=0.03)
    assert not (tmp_path / "model" / "classifier.safetensors").exists()
    judgement = Quality(tmp_path / "model", QualityRules()).judge("The ship", hash_words("The ship"))
    assert judgement.score is None
    assert Quality(tmp_path / "model", QualityRules(buckets=(judgement.bucket,))).reason("x", judgement) is None
    assert any("5-gram model" in line for line in said)


def test_what_can_not_be_read_is_counted(folder: Path, tmp_path: Path) -> None:
    lines = (folder.parent / "good.jsonl").read_text() + '{"text": 5}\nnot json\n{"text": "..."}\n'
    (tmp_path / "good.jsonl").write_text(lines)
    record = train_quality([tmp_path / "good.jsonl"], [], tmp_path / "model", CONFIG)
    assert sum(record.dropped.values()) == 3
    assert record.dropped["good: no words"] == 1


def test_mistakes_are_one_sentence_and_leave_nothing(folder: Path, tmp_path: Path) -> None:
    few = _write(tmp_path / "few.jsonl", [_good(number) for number in range(30)])
    with pytest.raises(UserError, match=r"of 30 good texts \d+ fall into the tenth .* measure by: give more"):
        train_quality([few], [], tmp_path / "model", CONFIG)
    with pytest.raises(UserError, match="is there already"):
        train_quality([few], [], folder, CONFIG)
    with pytest.raises(UserError, match="is not there"):
        train_quality([tmp_path / "missing"], [], tmp_path / "model", CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.jsonl"]


def test_perplexity_is_of_the_pieces_that_kenlm_scores(folder: Path) -> None:
    import kenlm

    model = PerplexityModel(folder)
    text = "The ship sees\n\nTHE  STORM 41 times.\n"
    config = kenlm.Config()
    config.show_progress, config.arpa_complain = False, kenlm.ARPALoadComplain.NONE
    read = kenlm.Model(str(folder / "model.arpa"), config)
    lines = [model._tokenizer.encode(line) for line in ("the ship sees", "the storm 00 times.")]
    total = sum(read.score(" ".join(map(str, ids))) for ids in lines)
    assert model.perplexity(text) == pytest.approx(10 ** (-total / sum(len(ids) + 1 for ids in lines)))
    assert model.perplexity("the ship sees\nthe storm 00 times.") == model.perplexity(text)


@pytest.mark.parametrize("text", ["", "\n \n", "\ud800", "\0", "<s> </s> <unk> <|endoftext|>", "你好", "x" * 100_000])
def test_odd_texts_have_a_perplexity(text: str, folder: Path) -> None:
    found = PerplexityModel(folder).perplexity(text)
    assert found > 0
    assert math.isinf(found) == (not text.strip())


def test_a_long_text_is_read_from_its_beginning(folder: Path) -> None:
    model, text = PerplexityModel(folder), "the ship sees the storm\n" * 2000
    assert model.perplexity(text) == model.perplexity(text[:MAX_CHARACTERS])


def test_texts_are_normalized() -> None:
    assert normalized("  Der  Hund\t\n\n\nHat 3½ ÄPFEL ٣\n") == "der hund\nhat 0½ äpfel 0"


def test_buckets_include_their_cutoffs() -> None:
    assert [bucket(value, (1.0, 2.0)) for value in (0.5, 1.0, 1.5, 2.0, 2.1, math.inf)] == [
        "head", "head", "middle", "middle", "tail", "tail",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["quality.json", "tokenizer.json", "model.arpa"])
def test_a_folder_that_lacks_a_file_is_one_sentence(name: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError):
        Quality(tmp_path, QualityRules())
    with pytest.raises(UserError, match=name):
        digest(tmp_path)
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(UserError):
        Quality(tmp_path, QualityRules())
