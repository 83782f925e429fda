r"""LLaVA-Bench (in the wild) and MM-Vet: free answers that a judge marks.

    judged("llava_bench", folder, model, "name", ChatClient(config), out)

    out         {"score": 63.4, "by_kind": {…}, "n": 58, "missing": {"no verdict: unreadable": 2}, "judge": {…}}
    out.jsonl   {"id", "question", "answer", "verdict", "marks"} or {…, "error"}: a line a question

A line that is there for the same question is not asked again. What the judge does not answer, or answers so that no
mark can be read, is counted, and its question is in no score. Prompts are worded here, in the official form; the
official words are taken from files: LLaVA's rule.json in the folder, or --judge-prompt. Knows nothing of addresses.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from mm1.config import UserError, fingerprint, to_json
from mm1.data.templates import STOP
from mm1.eval.chat_api import ChatClient, NoAnswer, message
from mm1.eval.episodes import Unaskable, digest_of
from mm1.eval.instruct.questions import Question, put
from mm1.eval.instruct.readers import Questions
from mm1.eval.model import EvalModel
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Folder, Row, Unfit, collect, load
from mm1.files import write_atomically
from mm1.types import Document

MAX_NEW_TOKENS = 512
UNREADABLE = "no verdict: unreadable"

LLAVA_SYSTEM = "You are a helpful and precise assistant who checks the quality of answers."
LLAVA_PROMPT = (
    "Two AI assistants have answered the user's question above, which was asked about an image. What the image shows "
    "is told in the context. Rate helpfulness, relevance, accuracy and level of detail of both answers: each assistant "
    "gets an overall mark from 1 to 10, 10 being best. First write one line with the two marks only, of Assistant 1 "
    "and Assistant 2, with a space between them. Then explain them, without letting the order of the answers matter."
)
VET_SYSTEM = "You mark answers."
VET_PROMPT = (
    "Compare a prediction with the ground truth of a question and give it a mark of correctness. <AND> in the ground "
    "truth means that all its parts have to be in the prediction, <OR> that any one has to. The mark is 0.0 (all "
    "wrong), 0.1, 0.2, … or 1.0 (all right). Write the mark only.\n\n"
    "Question | Ground truth | Prediction | Correctness\n--- | --- | --- | ---"
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A benchmark whose answers are marked."""

    questions: Callable[[Folder], Questions]
    system: str
    ask: Callable[[Question, str, str], str]
    """From a question, the model's answer and the prompt to what the judge is asked."""
    marks: Callable[[str], tuple[float, ...] | None]
    """Out of what it said; None if there are none."""
    total: Callable[[Sequence[tuple[float, ...]]], float]
    """Of the marks of several questions, as papers print it."""
    kinds: Callable[[str], Sequence[str]]
    """The kinds, of a question's, that scores are also reported by."""
    prompt: str


def llava_bench(folder: Folder) -> Questions:
    """The questions with their contexts and the answers of GPT-4 that the model's are compared with."""
    paths = folder.file("questions.jsonl"), folder.file("context.jsonl"), folder.file("answers_gpt4.jsonl")
    asked, contexts, answers = (_lines(path) for path in paths)
    told = {entry.get("image"): entry.get("caption") or entry.get("context") for entry in contexts}
    given = {entry.get("question_id"): entry.get("text") for entry in answers}
    rule = folder.find("rule.json")
    rules = load(rule, dict) if rule else {}

    def make(entry: Mapping[str, Any]) -> Question:
        reference, context = given.get(entry["question_id"]), told.get(entry["image"])
        if not reference or not context:
            raise Unfit("no answer" if not reference else "no context")
        prompt = (rules.get(f"llava_bench_{entry['category']}") or {}).get("prompt", "")
        return Question(
            id=str(entry["question_id"]),
            text=entry["text"].strip(),
            references=(reference,),
            kind=str(entry.get("category", "all")),
            pictures=((f"images/{entry['image']}", entry["image"]),),
            context="\n".join(context) if isinstance(context, list) else str(context),
            about={"prompt": prompt} if prompt else {},
        )

    questions, missing = collect(asked, make)
    return Questions(questions, "the whole", (*paths, *([rule] if rule else [])), missing)


def mm_vet(folder: Folder) -> Questions:
    """The questions with what has to be in an answer, by the capabilities that they need."""
    path = folder.file("mm-vet.json")

    def make(item: tuple[str, Mapping[str, Any]]) -> Question:
        number, entry = item
        return Question(
            id=number,
            text=entry["question"].strip(),
            references=(entry["answer"].strip(),),
            kind=",".join(sorted(entry["capability"])),
            pictures=((f"images/{entry['imagename']}", entry["imagename"]),),
        )

    questions, missing = collect(load(path, dict).items(), make)
    return Questions(questions, "the whole", (path,), missing)


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        if text.strip():
            try:
                found.append(dict(json.loads(text)))
            except (ValueError, TypeError):
                raise UserError(f"{path}:{number} is no JSON object: copy or download the file again") from None
    return found


def _llava_ask(question: Question, answer: str, prompt: str) -> str:
    return (
        f"[Context]\n{question.context}\n\n[Question]\n{question.text}\n\n"
        f"[Assistant 1]\n{question.references[0]}\n\n[End of Assistant 1]\n\n"
        f"[Assistant 2]\n{answer}\n\n[End of Assistant 2]\n\n"
        f"[System]\n{question.about.get('prompt', prompt)}\n\n"
    )


def _llava_marks(said: str) -> tuple[float, ...] | None:
    """The two numbers of the first line."""
    words = said.strip().split("\n")[0].replace(",", " ").split()
    try:
        marks = tuple(float(word) for word in words)
    except ValueError:
        return None
    return marks if len(marks) == 2 and all(1 <= mark <= 10 for mark in marks) else None


def _vet_ask(question: Question, answer: str, prompt: str) -> str:
    cells = [" ".join(text.split()) for text in (question.text, question.references[0], answer)]
    return f"{prompt}\n{' | '.join(cells)} | "


def _vet_marks(said: str) -> tuple[float, ...] | None:
    found = re.match(r"\s*(?:\|\s*)?([01](?:\.\d+)?)(?![\d.]*\d)", said)
    return (float(found[1]),) if found and float(found[1]) <= 1 else None


BENCHMARKS: Mapping[str, Judged] = {
    "llava_bench": Judged(
        questions=llava_bench,
        system=LLAVA_SYSTEM,
        ask=_llava_ask,
        marks=_llava_marks,
        total=lambda marks: 100 * sum(ours for _, ours in marks) / sum(theirs for theirs, _ in marks),
        kinds=lambda kind: (kind,),
        prompt=LLAVA_PROMPT,
    ),
    "mm_vet": Judged(
        questions=mm_vet,
        system=VET_SYSTEM,
        ask=_vet_ask,
        marks=_vet_marks,
        total=lambda marks: 100 * fmean(mark for (mark,) in marks),
        kinds=lambda kind: tuple(kind.split(",")),
        prompt=VET_PROMPT,
    ),
}


def judged(
    name: str,
    path: Path,
    model: EvalModel,
    model_name: str,
    judge: ChatClient,
    out: Path,
    prompt: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    chunk: int = 16,
) -> dict[str, Any]:
    """Asks the model every question, and the judge for a mark of every answer; writes `out` and returns it.

    Args:
        name: in BENCHMARKS.
        path: the benchmark's folder.
        model: answers.
        model_name: what tells it from every other model.
        judge: marks.
        out: a JSON file; OUT.jsonl beside it keeps every answer and verdict.
        prompt: what the judge is told to do, instead of our words.
        say: told what is done.
        chunk: questions between two writings of OUT.jsonl.

    Raises:
        UserError: files are missing or of another kind, no question can be asked, or not one verdict came.
    """
    benchmark, folder = BENCHMARKS[name], Folder(path)
    benchmark = replace(benchmark, prompt=prompt or benchmark.prompt)
    found = benchmark.questions(folder)
    settings = fingerprint([name, model_name, benchmark.prompt, _identity(judge)])
    journal = out.with_name(f"{out.name}l")
    known = _known(journal)
    pictures, lines, missing = Pictures(folder), list[dict[str, Any]](), Counter(found.missing)
    for start in range(0, len(found.questions), chunk):
        asked: list[tuple[Question, Document, str]] = []
        for question in found.questions[start : start + chunk]:
            try:
                document = _document(question, pictures)
                asked.append((question, document, _hash(settings, question, document)))
            except Unaskable as error:
                missing[error.reason] += 1
        new = [one for one in asked if one[2] not in known]
        answers = model.generate([document for _, document, _ in new], MAX_NEW_TOKENS, (STOP,)) if new else []
        with journal.open("a", encoding="utf-8") as file:
            for (question, _, digest), answer in zip(new, answers, strict=True):
                known[digest] = {**_marked(benchmark, question, answer.strip(), judge), "asked": digest}
                # After a kill, the line before may have no end.
                file.write("\n" + json.dumps(known[digest], ensure_ascii=False) + "\n")
                file.flush()
        lines += [known[digest] for _, _, digest in asked]
        say(f"{len(lines)} of {len(found.questions)} answered and marked")
    write_atomically(journal, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    return _result(name, benchmark, lines, missing, model_name, judge, out)


def _result(
    name: str,
    benchmark: Judged,
    lines: Sequence[Mapping[str, Any]],
    missing: Counter[str],
    model_name: str,
    judge: ChatClient,
    out: Path,
) -> dict[str, Any]:
    """Scores of what was marked, written to `out`."""
    marked = [line for line in lines if "marks" in line]
    missing += Counter(line["error"] for line in lines if "error" in line)
    if not marked:
        reasons = ", ".join(f"{count} with '{reason}'" for reason, count in missing.items()) or "there are no questions"
        raise UserError(
            f"{name} has no score, for not one answer was marked ({reasons}): look at {out.name}l beside {out}"
        )
    by_kind: dict[str, list[tuple[float, ...]]] = {}
    for line in marked:
        for kind in {line["kind"], *benchmark.kinds(line["kind"])}:
            by_kind.setdefault(kind, []).append(tuple(line["marks"]))
    result = {
        "benchmark": name,
        "score": benchmark.total([tuple(line["marks"]) for line in marked]),
        "by_kind": {kind: {"score": benchmark.total(rows), "n": len(rows)} for kind, rows in sorted(by_kind.items())},
        "n": len(marked),
        "missing": missing,
        "model": model_name,
        "judge": {**to_json(judge.config), "key_file": None, "prompt": benchmark.prompt, "system": benchmark.system},
    }
    write_atomically(out, (json.dumps(result, indent=2, ensure_ascii=False) + "\n").encode())
    return result


def _marked(benchmark: Judged, question: Question, answer: str, judge: ChatClient) -> dict[str, Any]:
    """A line of the journal."""
    line: dict[str, Any] = {"id": question.id, "kind": question.kind, "question": question.text, "answer": answer}
    try:
        asked = benchmark.ask(question, answer, benchmark.prompt)
        said = judge.ask([message("system", benchmark.system), message("user", asked)]).text
    except NoAnswer as error:
        return {**line, "error": f"no answer: {error.reason}", "detail": error.detail}
    marks = benchmark.marks(said)
    return {**line, "verdict": said} | ({"error": UNREADABLE} if marks is None else {"marks": marks})


def _document(question: Question, pictures: Pictures) -> Document:
    names = [name for name in question.pictures if isinstance(name, tuple)]
    shown = [pictures.read(Row(id=question.id, picture=name, answers=(), shown="")) for name in names]
    return Document(id=question.id, segments=put(question, shown))


def _identity(judge: ChatClient) -> dict[str, Any]:
    """What verdicts depend on."""
    config = judge.config
    return {name: getattr(config, name) for name in ("address", "model", "temperature", "max_tokens")}


def _hash(settings: str, question: Question, document: Document) -> str:
    content = [settings, question.id, question.text, question.references, question.context, dict(question.about)]
    shown = [digest_of(image) for image in document.images]
    return hashlib.sha256(json.dumps([content, shown]).encode()).hexdigest()[:32]


def _known(journal: Path) -> dict[str, dict[str, Any]]:
    """The marked lines of an earlier run; what was not marked is asked again."""
    found = {}
    if journal.exists():
        for text in journal.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                line = json.loads(text)
            except ValueError:  # blank, or torn by a kill
                continue
            if "marks" in line:
                found[line["asked"]] = line
    return found
