r"""A user's own answers in one JSON file, scored as the official scorers do: what `mm1 score` reads.

    {"references": {"7": ["a dog", "the dog"]}, "candidates": {"7": "A dog."}}            captions, not tokenised
    {"questions": [{"id": 7, "answers": ["yes", … ten of them], "prediction": "yes"}]}    VQA

VQA files may also have the first form, and a question may be written as VQA's own files do: `question_id` for `id`,
answers as {"answer": "yes"}, with `question_type` and `answer_type`. What lacks its other half is left out and counted.
Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.eval.metrics.caption import bleu, cider_d, rouge_l, tokenise
from mm1.eval.metrics.vqa import vqa_accuracy

NUM_ANSWERS = 10
"""People who answered each question; the official accuracy is made for so many."""


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Scores of a whole file, as fractions (papers print x100)."""

    scores: dict[str, float]
    """cider, bleu1 … bleu4, rouge_l."""
    scored: int
    missing: int
    """Ids with references, but without a candidate."""

    def to_json(self) -> dict[str, float]:
        return self.scores | ({"missing": self.missing} if self.missing else {})


@dataclass(frozen=True, slots=True)
class VQAScores:
    """Accuracies, as fractions."""

    accuracy: float
    by_question: dict[str, float]
    by_type: dict[str, dict[str, float]]
    """"question_type" and "answer_type" where the file names them: type -> accuracy."""
    missing: int
    """Questions without a prediction or without answers."""

    def to_json(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "missing": self.missing, **self.by_type, "questions": self.by_question}


def score_captions(path: Path) -> CaptionScores:
    """CIDEr-D, BLEU and ROUGE-L of a file of captions.

    Raises:
        UserError: not that form, an id twice, a candidate without references, or nothing to score.
    """
    references, candidates = _halves(path, _read(path))
    ids = [id for id in references if id in candidates]
    if not ids:
        raise UserError(f"{path} has no candidate to score: give `candidates` under the ids of `references`")
    said = [tokenise(_text(candidates[id], f"{path}: candidate '{id}'")) for id in ids]
    wanted = [[tokenise(_text(text, f"{path}: a reference of '{id}'")) for text in references[id]] for id in ids]
    scores = {"cider": _mean(cider_d(said, wanted))}
    scores |= {f"bleu{n}": score for n, score in enumerate(bleu(said, wanted).corpus, start=1)}
    scores["rouge_l"] = _mean([rouge_l(*pair) for pair in zip(said, wanted, strict=True)])
    return CaptionScores(scores, len(ids), len(references) - len(ids))


def score_vqa(path: Path) -> VQAScores:
    """The official VQA accuracy of a file of questions.

    Raises:
        UserError: not one of the forms, an id twice, another number of answers than ten, or nothing to score.
    """
    questions = _questions(path, _read(path))
    scores: dict[str, float] = {}
    types: dict[str, dict[str, list[float]]] = {}
    for id, question in questions.items():
        answers, prediction = question.get("answers"), question.get("prediction")
        if not answers or prediction is None:
            continue
        texts = _answers(answers, f"{path}: question '{id}'")
        scores[id] = vqa_accuracy(_text(prediction, f"{path}: the prediction of question '{id}'"), texts)
        for kind in ("question_type", "answer_type"):
            if kind in question:
                types.setdefault(kind, {}).setdefault(str(question[kind]), []).append(scores[id])
    if not scores:
        raise UserError(f"{path} has no question with answers and a prediction: give both")
    by_type = {kind: {name: _mean(values) for name, values in named.items()} for kind, named in types.items()}
    return VQAScores(_mean(list(scores.values())), scores, by_type, len(questions) - len(scores))


def _read(path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise UserError(f"{path} has '{twice}' twice in one object: keep one of them")
        return made

    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a JSON file of answers") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): write it again") from None
    if not isinstance(whole, dict):
        raise UserError(f"{path} holds a {type(whole).__name__}: give one JSON object")
    return whole


def _halves(path: Path, whole: Mapping[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """`references` and `candidates`, every candidate with at least one reference."""
    halves = [whole.get("references"), whole.get("candidates")]
    for name, half in zip(("references", "candidates"), halves, strict=True):
        if not isinstance(half, dict):
            raise UserError(f"{path} has no object `{name}` (it has {_keys(whole)}): give one, by id")
    references, candidates = halves
    assert isinstance(references, dict)
    assert isinstance(candidates, dict)
    for id in candidates:
        if not references.get(id):
            raise UserError(f"{path}: candidate '{id}' has no references: add some, or leave it out")
        if not isinstance(references[id], list):
            raise UserError(f"{path}: the references of '{id}' are no list: give a list of texts")
    return references, candidates


def _questions(path: Path, whole: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All questions by id, in the longer form."""
    if "questions" not in whole:
        references, candidates = _halves(path, whole)
        return {id: {"answers": given, "prediction": candidates.get(id)} for id, given in references.items()}
    if not isinstance(whole["questions"], list):
        raise UserError(f"{path}: `questions` is no list: give a list of objects")
    questions: dict[str, Mapping[str, Any]] = {}
    for place, question in enumerate(whole["questions"]):
        if not isinstance(question, dict):
            raise UserError(f"{path}: questions[{place}] is no object: give id, answers and prediction")
        id = question.get("id", question.get("question_id"))
        if not isinstance(id, str | int):
            raise UserError(f"{path}: questions[{place}] has no id: give each question one")
        if str(id) in questions:
            raise UserError(f"{path} has question '{id}' twice: keep one of them")
        questions[str(id)] = question
    return questions


def _answers(answers: object, where: str) -> list[str]:
    if not isinstance(answers, list) or len(answers) != NUM_ANSWERS:
        count = len(answers) if isinstance(answers, list) else "no list of"
        raise UserError(f"{where} has {count} answers, but the accuracy is made for {NUM_ANSWERS}: give as many")
    return [_text(answer.get("answer") if isinstance(answer, dict) else answer, where) for answer in answers]


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} is {value!r:.60}: give a text")
    return value


def _keys(whole: Mapping[str, Any]) -> str:
    return ", ".join(list(whole)[:8]) or "no keys"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
