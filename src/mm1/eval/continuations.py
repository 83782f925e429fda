"""A file of Documents, each continued by a model: JSONL in, JSONL out, in the same order; what `mm1 generate` does.

    {"id": "a", "segments": [{"type": "image", "image": "cat.jpg"}, {"type": "text", "text": "A photo of"}]}
    {"id": "a", "text": " a cat", "finish_reason": "stop", "asked": "5f0c…"}
    {"id": "b", "error": "missing image", "where": "documents.jsonl:2", "asked": null}

`asked` is a hash of the model, the options and the document: a line that is there for the same question is not asked
again, so a killed run goes on, and a longer file asks for what is new. Answers are appended to OUT.partial as they
come; OUT is written whole at the end. Knows nothing of tasks or scores.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field, PositiveInt

from mm1.config import Config, UserError, fingerprint, to_json
from mm1.data.formats import documents
from mm1.data.formats.reading import Drop, ReadOptions
from mm1.data.formats.streams import json_records
from mm1.eval.model import MM1Model, cut
from mm1.files import write_atomically
from mm1.generate.request import Completion, Prompt
from mm1.generate.sampling import SamplingConfig
from mm1.types import Document, Text

Progress: TypeAlias = Callable[[int, int, int], None]
"""Called with (documents done, documents in all, new tokens so far)."""


class ContinueConfig(Config):
    """What is asked of the model for every document."""

    max_new_tokens: PositiveInt = 128
    stop: tuple[str, ...] = ()
    """A text ends before the first of these."""
    stop_tokens: tuple[int, ...] = ()
    """Ids that end a text, and are no part of it."""
    sampling: SamplingConfig = SamplingConfig()
    """Every document draws from its own stream: from the seed here and its id."""
    logprobs: bool = False
    """Also write each new token's id and the logarithm of its probability."""
    batch: PositiveInt = Field(default=64)
    """Documents given to the engine at once; changes no answer but by rounding."""


@dataclass(frozen=True, slots=True)
class Continued:
    """What came of a file."""

    answered: int
    """In this call; `found` were there before."""
    found: int
    failed: dict[str, int]
    """Documents without an answer, by reason."""


def continue_documents(
    model: MM1Model, name: str, source: Path, out: Path, config: ContinueConfig, progress: Progress | None = None
) -> Continued:
    """Continues every document of `source` into `out`.

    Args:
        model: answers.
        name: what tells it from every other model, such as a hash of its weights.
        source: JSONL, as `mm1.data.formats.documents` reads it.
        out: written whole at the end; lines that are there for the same questions are kept.
        config: what is asked.
        progress: called after every batch.

    Raises:
        UserError: `source` is no file, or `out` can not be one, or is the same.
    """
    if not source.is_file():
        raise UserError(f"{source} is no file: give documents, one JSON object a line")
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"{out} can not be written: name a file in a folder that is there")
    if out.resolve() == source.resolve():
        raise UserError(f"{out} would be written over the documents themselves: name another file for what comes out")
    run = _Run(model, fingerprint([name, to_json(config.replace(batch=1))]), config)
    partial = out.with_name(f"{out.name}.partial")
    known = _answers(out) | _answers(partial)
    total = sum(1 for _ in json_records(source))
    lines: list[str] = []
    found = 0
    items = run.items(source)
    with partial.open("a", encoding="utf-8") as file:
        if file.tell():  # what a kill has left of a line ends here
            file.write("\n")
        while batch := list(islice(items, config.batch)):
            new = [item for item in batch if isinstance(item, Asked) and item.hash not in known]
            for asked, line in zip(new, run.answers(new), strict=True):
                known[asked.hash] = line
                file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
            found += sum(isinstance(item, Asked) for item in batch) - len(new)
            lines += [known[item.hash] if isinstance(item, Asked) else item for item in batch]
            if progress is not None:
                progress(len(lines), total, run.new_tokens)
    write_atomically(out, "".join(line + "\n" for line in lines).encode())
    partial.unlink()
    return Continued(run.answered, found, _reasons(lines))


@dataclass(frozen=True, slots=True)
class Asked:
    """A document with the hash of the question that it is."""

    document: Document
    hash: str


class _Run:
    """Asks one model one set of options."""

    def __init__(self, model: MM1Model, settings: str, config: ContinueConfig) -> None:
        self.model = model
        self.settings = settings
        self.config = config
        self.answered = self.new_tokens = 0

    def items(self, source: Path) -> Iterator[Asked | str]:
        """Each document of the file, or the line that says why there is none."""
        seen: set[str] = set()
        for item in documents.read(source, ReadOptions()):
            if isinstance(item, Drop):
                yield _failure(item.id or item.where, item.reason, where=item.where)
            elif item.id in seen:
                yield _failure(item.id, "an id that was there before")
            else:
                seen.add(item.id)
                yield Asked(item, self._hash(item))

    def answers(self, asked: Sequence[Asked]) -> list[str]:
        """A line for each."""
        prompts: list[Prompt] = []
        lines: list[str | None] = []
        for one in asked:
            try:
                prompts.append(self._prompt(one.document))
                lines.append(None)
            except UserError as error:
                lines.append(_failure(one.document.id, str(error), one.hash))
        done = iter(self.model.engine.generate(prompts))
        self.answered += len(prompts)
        return [self._line(one, next(done)) if line is None else line for one, line in zip(asked, lines, strict=True)]

    def _prompt(self, document: Document) -> Prompt:
        config = self.config
        seed = int(fingerprint([config.sampling.seed, document.id])[:12], 16)
        sampling = config.sampling.replace(seed=seed)
        prompt = self.model.prompt(document, config.max_new_tokens, config.stop, sampling, config.stop_tokens)
        self.model.engine.check(prompt, config.max_new_tokens)
        return prompt

    def _line(self, asked: Asked, done: Completion) -> str:
        text = cut(self.model.encoder.tokenizer.decode(done.tokens), self.config.stop)
        line: dict[str, Any] = {"id": asked.document.id, "text": text, "finish_reason": done.finish_reason}
        if self.config.logprobs:
            line |= {"tokens": done.tokens, "logprobs": [round(value, 6) for value in done.logprobs]}
        self.new_tokens += len(done.tokens)
        return json.dumps({**line, "asked": asked.hash}, ensure_ascii=False)

    def _hash(self, document: Document) -> str:
        content = hashlib.sha256(json.dumps([self.settings, document.id]).encode())
        for segment in document.segments:
            data = segment.text.encode() if isinstance(segment, Text) else segment.data
            content.update(f"{type(segment).__name__} {len(data)} ".encode() + data)
        return content.hexdigest()[:32]


def _failure(id: str, reason: str, asked: str | None = None, where: str = "") -> str:
    place = {"where": where} if where else {}
    return json.dumps({"id": id, "error": reason, **place, "asked": asked}, ensure_ascii=False)


def _answers(path: Path) -> dict[str, str]:
    """The answered lines of a file by what was asked; whatever else stands in it is passed over."""
    found: dict[str, str] = {}
    if path.exists():
        # Not splitlines: what a model said may hold other signs that end lines.
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                value = json.loads(line)
            except ValueError:  # the end of a killed run
                continue
            if isinstance(value, dict) and isinstance(value.get("asked"), str) and "text" in value:
                found[value["asked"]] = line
    return found


def _reasons(lines: Sequence[str]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for error in (value.get("error") for value in map(json.loads, lines)):
        if error is not None:
            reasons[error] = reasons.get(error, 0) + 1
    return reasons
