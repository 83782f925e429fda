r"""A writer from a folder: an mm1 checkpoint, asked in batches, greedily.

    CheckpointWriter(model=MM1Model.load(folder), name="sft 3f9a02c1d4e7", digest="3f9a…")

A question without words shows the picture alone, as caption pairs do in pretraining: the model goes on with a caption.
A question with words is a turn of a chat, as in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mm1.config import UserError
from mm1.curation.recaption.writers import Heard, Question
from mm1.data import templates
from mm1.eval.chat_api import Answer, NoAnswer
from mm1.eval.model import MM1Model, cut
from mm1.generate.request import Prompt
from mm1.types import Document, Image, Segment, Text


@dataclass(frozen=True, kw_only=True)
class CheckpointWriter:
    """See writers.py."""

    model: MM1Model
    name: str
    digest: str
    """What tells the model from every other: a hash of its files."""
    max_new_tokens: int = 128
    batch: int = 64

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "checkpoint", "digest": self.digest, "max_new_tokens": self.max_new_tokens}

    @property
    def sees(self) -> bool:
        """Whether it can be shown pictures."""
        return self.model.engine.model.config.image_encoder is not None

    def write(self, questions: Mapping[str, Question], heard: Heard) -> None:
        waiting = iter(questions.items())
        while chunk := dict(islice(waiting, self.batch)):
            prompts: dict[str, Prompt] = {}
            for key, question in chunk.items():
                try:
                    prompts[key] = self._prompt(key, question)
                except NoAnswer as error:
                    heard(key, error)
            done = self.model.engine.generate(list(prompts.values()))
            for key, completion in zip(prompts, done, strict=True):
                text = cut(self.model.encoder.tokenizer.decode(completion.tokens), (templates.STOP,))
                finish = "length" if completion.finish_reason == "length" else "stop"
                heard(key, Answer(text, self.name, finish) if text.strip() else NoAnswer("empty", passing=False))

    def _prompt(self, key: str, question: Question) -> Prompt:
        document = Document(id=key, segments=_segments(question))
        try:
            prompt = self.model.prompt(document, self.max_new_tokens, (templates.STOP,))
        except UserError as error:
            raise NoAnswer("image unreadable", str(error), passing=False) from None
        try:
            self.model.engine.check(prompt, self.max_new_tokens)
        except UserError as error:
            raise NoAnswer("prompt too long", str(error), passing=False) from None
        return prompt


def _segments(question: Question) -> tuple[Segment, ...]:
    shown = () if question.picture is None else (Image(question.picture),)
    if not question.text:
        assert shown, "a question of nothing"
        return templates.caption_prompt(shown[0])
    return templates.chat_turn((*shown, Text(question.text)), None)
