r"""LLaVA-Bench (in the wild) and MM-Vet: free answers that a judge marks.

    judged("llava_bench", folder, model, "name", ChatClient(config), out)

    out         {"score": 63.4, "by_kind": {…}, "n": 58, "missing": {"no verdict: unreadable": 2}, "judge": {…}}
    out.jsonl   {"id", "question", "answer", "verdict", "marks"} or {…, "error"}: a line a question

An answer that is there for the same question is not asked for again, nor is a verdict of the same judge. What the judge
does not answer, or answers so that no mark can be read, is counted, and its question is in no score; where nobody
answers any more, the run ends. Knows nothing of addresses, nor of a benchmark's files,
prompts and marks (free_answers.py).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mm1.config import UserError, fingerprint, to_json
from mm1.data.templates import STOP
from mm1.eval.chat_api import ChatClient, NoAnswer, Presence, message
from mm1.eval.episodes import Unaskable, digest_of
from mm1.eval.instruct.free_answers import BENCHMARKS, Judged
from mm1.eval.instruct.questions import Question, put
from mm1.eval.model import EvalModel
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Folder, Row
from mm1.files import write_atomically
from mm1.types import Document

MAX_NEW_TOKENS = 512
UNREADABLE = "no verdict: unreadable"


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
        UserError: files are missing or of another kind, no question can be asked, the judge answers nothing any more,
            or not one verdict came.
    """
    benchmark, folder = BENCHMARKS[name], Folder(path)
    benchmark = replace(benchmark, prompt=prompt or benchmark.prompt)
    found = benchmark.questions(folder)
    settings = fingerprint([benchmark.prompt, _identity(judge)])
    marking = _Marking(benchmark, judge, settings, Presence(judge.config.model))
    journal = out.with_name(f"{out.name}l")
    known = _known(journal)
    pictures, lines, missing = Pictures(folder), list[dict[str, Any]](), Counter(found.missing)
    for start in range(0, len(found.questions), chunk):
        asked, unaskable = _askable(found.questions[start : start + chunk], pictures, f"{name} {model_name}")
        missing += unaskable
        new = {digest: document for digest, (_, document) in asked.items() if digest not in known}
        answers = model.generate([*new.values()], MAX_NEW_TOKENS, (STOP,)) if new else []
        for digest, answer in zip(new, answers, strict=True):
            known[digest] = {**_about(asked[digest][0]), "answer": answer.strip(), "asked": digest}
        _append(journal, [known[digest] for digest in new])
        for digest, (question, _) in asked.items():
            if not marking.is_done(known[digest]):
                known[digest] = marking.marked(known[digest], question)
                _append(journal, [known[digest]])
        lines += [known[digest] for digest in asked]
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


@dataclass(frozen=True)
class _Marking:
    """Puts answers to the judge."""

    benchmark: Judged
    judge: ChatClient
    settings: str
    """What a verdict depends on but for the answer."""
    presence: Presence

    def is_done(self, line: Mapping[str, Any]) -> bool:
        return "marks" in line and line.get("judged") == self.settings

    def marked(self, line: Mapping[str, Any], question: Question) -> dict[str, Any]:
        """The line with what the judge says of its answer.

        Raises:
            UserError: it answers nothing any more.
        """
        line = {**_about(question), "answer": line["answer"], "asked": line["asked"], "judged": self.settings}
        words = self.benchmark.ask(question, line["answer"], self.benchmark.prompt)
        try:
            said = self.judge.ask([message("system", self.benchmark.system), message("user", words)])
        except NoAnswer as error:
            self.presence.note(error)
            return {**line, "error": f"no answer: {error.reason}", "detail": error.detail}
        self.presence.note(said)
        marks = self.benchmark.marks(said.text)
        return {**line, "verdict": said.text} | ({"error": UNREADABLE} if marks is None else {"marks": marks})


def _about(question: Question) -> dict[str, Any]:
    return {"id": question.id, "kind": question.kind, "question": question.text}


def _append(journal: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Adds lines to a journal."""
    with journal.open("a", encoding="utf-8") as file:
        # After a kill, the line before may have no end.
        file.writelines("\n" + json.dumps(line, ensure_ascii=False) for line in lines)


def _askable(
    questions: Sequence[Question], pictures: Pictures, who: str
) -> tuple[dict[str, tuple[Question, Document]], Counter[str]]:
    """Questions with what the model is shown, by what an answer depends on; and why others can not be asked."""
    asked: dict[str, tuple[Question, Document]] = {}
    missing: Counter[str] = Counter()
    for question in questions:
        try:
            document = _document(question, pictures)
            asked[_hash(who, question, document)] = question, document
        except Unaskable as error:
            missing[error.reason] += 1
    return asked, missing


def _document(question: Question, pictures: Pictures) -> Document:
    names = [name for name in question.pictures if isinstance(name, tuple)]
    shown = [pictures.read(Row(id=question.id, picture=name, answers=(), shown="")) for name in names]
    return Document(id=question.id, segments=put(question, shown))


def _identity(judge: ChatClient) -> dict[str, Any]:
    """What verdicts depend on."""
    config = judge.config
    return {name: getattr(config, name) for name in ("address", "model", "temperature", "max_tokens")}


def _hash(who: str, question: Question, document: Document) -> str:
    content = [who, question.id, question.text, question.references, question.context, dict(question.about)]
    shown = [digest_of(image) for image in document.images]
    return hashlib.sha256(json.dumps([content, shown]).encode()).hexdigest()[:32]


def _known(journal: Path) -> dict[str, dict[str, Any]]:
    """The answers of an earlier run, with their verdicts; of two lines for one question the later one."""
    found = {}
    if journal.exists():
        for text in journal.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                line = json.loads(text)
            except ValueError:  # blank, or torn by a kill
                continue
            if isinstance(line, dict) and isinstance(line.get("answer"), str) and "asked" in line:
                found[line["asked"]] = line
    return found
