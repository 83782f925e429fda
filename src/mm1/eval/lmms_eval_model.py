"""An MM1 as a model of lmms-eval (0.7.3), for its image tasks.

    lmms_eval --model mm1 --model_args checkpoint=runs/tiny/sft --tasks mme     # found by the entry point `manifest`
    simple_evaluate(MM1LMMS(MM1Model.load(folder)), tasks=["mme"])

    request   (context, settings | continuation, doc → pictures, number, task, split)
    Document  ‹image›‹image› context; each image in its place where the context says <image> as often as there are any

What does not fit the model, and pictures that can not be read, are counted in `refused` and answered with nothing:
lmms-eval knows no question that was not asked. It passes no pictures of examples, so few-shot scores are `mm1 eval`'s
affair. Knows nothing of tasks.
"""

from __future__ import annotations

import io
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from PIL import Image as PillowImage

from mm1.config import UserError
from mm1.data import templates
from mm1.eval.episodes import Unaskable
from mm1.eval.harness import MAX_NEW_TOKENS, sampling_of, until_of
from mm1.eval.model import MM1Model, cut
from mm1.generate.request import Prompt
from mm1.generate.sampling import SamplingConfig
from mm1.types import Document, Image, Segment, Text

PLACE = "<image>"
"""Where a task's own text has its pictures."""
KEPT_AS_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
"""Pillow's modes that a PNG holds without loss; others become RGB."""
BATCH = 64
"""Requests whose pictures are held at once."""

log = logging.getLogger(__name__)


def manifest() -> Any:
    """What lmms-eval's registry is told: the entry point of the group `lmms_eval.models`."""
    from lmms_eval.models.registry_v2 import ModelManifest  # lmms-eval calls this while it imports its own models

    return ModelManifest(model_id="mm1", simple_class_path=f"{__name__}.{MM1LMMS.__name__}")


class MM1LMMS(lmms):  # type: ignore[misc]
    """lmms-eval's two calls on an MM1."""

    is_simple = True

    def __init__(
        self,
        model: MM1Model | None = None,
        checkpoint: str | None = None,
        device: str | None = None,
        chat: bool = True,
        max_len: int = 8192,
        **_: Any,
    ) -> None:
        """Takes a model, or loads the checkpoint; other arguments are about batches, which mm1 makes itself.

        Args:
            model: answers.
            checkpoint: the folder of another.
            device: on which it is loaded; the CPU where None.
            chat: whether questions are put as a chat's turns, which fine-tuned models read, or as they stand.
            max_len: the longest prompt with its answer, of a loaded model.

        Raises:
            UserError: as MM1Model.load.
        """
        super().__init__()
        assert (model is None) != (checkpoint is None), "give a model or a checkpoint"
        self.model = model or MM1Model.load(Path(str(checkpoint)), device or "cpu", max_len=int(max_len))
        self.chat = chat
        self.refused: Counter[str] = Counter()
        """Requests that were answered with nothing, by reason."""

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Texts up to the first of each request's `until`, or to the end of an answer.

        Raises:
            UserError: a task asks for what the engine does not have.
        """

        def ask(batch: Sequence[Instance]) -> list[str]:
            settings = [request.args[1] for request in batch]
            stops = [self._stop(one) for one in settings]
            prompts = [
                self._prompt(request, _new_tokens(asked), stop, sampling_of(asked))
                for request, asked, stop in zip(batch, settings, stops, strict=True)
            ]
            decode = self.model.encoder.tokenizer.decode
            done = iter(self.model.engine.generate([prompt for prompt in prompts if prompt is not None]))
            # Stripped: where a chat's answer begins there is a space.
            return [
                "" if prompt is None else cut(decode(next(done).tokens), stop).strip()
                for prompt, stop in zip(prompts, stops, strict=True)
            ]

        return self._by_batches(requests, ask)

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """How likely each continuation is, and whether greedy text would be just that: a pair, as a result's `text`.

        A bare pair becomes a string on its way through lmms-eval 0.7.3, which then fails to take it apart; what is in
        a result passes.

        Of a choice, the negative logarithm: there lmms-eval takes the smallest "loss" (its issue 370). Of a task whose
        answer is a document's target, the logarithm itself, of which lmms-eval makes the perplexity.
        """

        def ask(batch: Sequence[Instance]) -> list[GenerationResult]:
            is_choice = [isinstance(request.args[1], str) for request in batch]
            texts = [
                request.args[1] if choice else request.args[1](self._row(request))
                for request, choice in zip(batch, is_choice, strict=True)
            ]
            continuations = [self.model.encoder.tokenizer.encode(text, beginning=False) for text in texts]
            prompts = [self._prompt(request, len(new)) for request, new in zip(batch, continuations, strict=True)]
            asked = [(p, c) for p, c in zip(prompts, continuations, strict=True) if p is not None]
            done = iter(self.model.engine.likelihoods([p for p, _ in asked], [c for _, c in asked]))
            found = [None if prompt is None else next(done) for prompt in prompts]
            values = [(-math.inf, False) if one is None else (one.logprob, one.is_greedy) for one in found]
            return [
                GenerationResult((-logprob if choice else logprob, greedy))
                for (logprob, greedy), choice in zip(values, is_choice, strict=True)
            ]

        return self._by_batches(requests, ask)

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not to be had.

        Raises:
            UserError: always.
        """
        raise UserError("mm1 is not asked in several rounds through lmms-eval: leave such tasks out")

    def _by_batches(self, requests: Sequence[Instance], ask: Callable[[Sequence[Instance]], list[Any]]) -> list[Any]:
        before = self.refused.copy()
        answers = [ask(requests[start : start + BATCH]) for start in range(0, len(requests), BATCH)]
        for reason, count in (self.refused - before).items():
            log.warning("%d of %d requests were answered with nothing: %s", count, len(requests), reason)
        return list(chain.from_iterable(answers))

    def _prompt(
        self, request: Instance, new_tokens: int, stop: tuple[str, ...] = (), sampling: SamplingConfig | None = None
    ) -> Prompt | None:
        """What the engine is asked; None, counted, where it can not be.

        Raises:
            UserError: pictures for a model that reads text only.
        """
        try:
            if not new_tokens:
                raise Unaskable("an empty continuation")
            document = self._document(request)
            try:
                prompt = self.model.prompt(document, new_tokens, stop, sampling)
            except UserError:
                raise Unaskable("unreadable image" if document.images else "an empty prompt") from None
            if len(prompt.tokens) + new_tokens > self.model.engine.max_len:
                raise Unaskable("prompt too long")
        except Unaskable as error:
            self.refused[error.reason] += 1
            return None
        self.model.engine.check(prompt, new_tokens, f"task '{document.id}'")
        return prompt

    def _document(self, request: Instance) -> Document:
        context, place = request.args[0], "/".join(map(str, request.args[3:][::-1]))
        pictures = self._pictures(request)
        asked: tuple[Segment, ...] = (*pictures, Text(context))
        if pictures and context.count(PLACE) == len(pictures):
            texts = [Text(part) for part in context.split(PLACE)]
            asked = tuple(part for pair in zip_longest(texts, pictures) for part in pair if part is not None)
        segments = templates.chat_turn(asked, None) if self.chat else templates.merged(asked)
        return Document(id=place, segments=segments)

    def _pictures(self, request: Instance) -> tuple[Image, ...]:
        if len(request.args) < 3:  # a choice alone, for its mutual information
            return ()
        visuals = request.args[2](self._row(request)) or []
        return tuple(map(_encoded, visuals if isinstance(visuals, list | tuple) else [visuals]))

    def _row(self, request: Instance) -> Any:
        *_, number, task, split = request.args
        return self.task_dict[task][split][number]

    def _stop(self, settings: dict[str, Any]) -> tuple[str, ...]:
        """A chat's answer is one line, whatever else ends it."""
        until = until_of(settings)
        return tuple(dict.fromkeys((*until, templates.STOP))) if self.chat or not until else until


def _new_tokens(settings: dict[str, Any]) -> int:
    return int(settings.get("max_new_tokens") or MAX_NEW_TOKENS)


def _encoded(visual: Any) -> Image:
    """A picture as lmms-eval has it, or the path of one.

    Raises:
        Unaskable: a video or sound.
    """
    if isinstance(visual, PillowImage.Image):
        buffer = io.BytesIO()
        kept = visual if visual.mode in KEPT_AS_PNG else visual.convert("RGB")
        kept.save(buffer, "PNG", compress_level=1)
        return Image(buffer.getvalue())
    if isinstance(visual, str) and Path(visual).is_file():
        return Image(Path(visual).read_bytes())
    raise Unaskable("something else than a picture")
