r"""A model as evaluation and serving see it: two calls on Documents, and the MM1 that answers them.

    model = MM1Model.load(run / "sft")
    model.generate([document], max_new_tokens=12, stop=("\n",))     # [" a red circle"]
    model.loglikelihood([(document, " red"), (document, " blue")])  # [-0.2, -3.1]

Strings are this file's affair: the engine below it knows ids only. Knows nothing of tasks or scores.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from mm1.checkpoint import open_checkpoint
from mm1.config import UserError
from mm1.data.decoded import DecodedImages
from mm1.data.encode import DocumentEncoder, first_piece
from mm1.data.image import BadImage
from mm1.data.sub_images import WHOLE, SubImagesConfig
from mm1.data.tokenizer import Tokenizer
from mm1.generate.engine import Engine
from mm1.generate.request import GREEDY, Prompt, StopFunction
from mm1.generate.sampling import SamplingConfig
from mm1.models.mm1 import MM1
from mm1.types import Document

DECODED_BYTES = 256 << 20
"""Of pictures that are kept decoded, for the prompts that show them again."""


class PromptTooLong(UserError):
    """Documents that do not fit the model with what is to follow them; nothing was computed for the others either."""

    def __init__(self, lengths: Mapping[str, int], max_len: int) -> None:
        """`lengths`: by id of each document that is too long, its tokens and the new ones."""
        id_, length = next(iter(lengths.items()))
        others = f" (and {len(lengths) - 1} more)" if len(lengths) > 1 else ""
        super().__init__(
            f"document '{id_}'{others} has {length} tokens, the new ones included, but the limit is {max_len}: shorten "
            "it, or raise the limit (--max-len)"
        )
        self.ids = frozenset(lengths)


class EvalModel(Protocol):
    """Whatever can be evaluated: anything with these two calls.

    Both raise PromptTooLong, naming all that are, where a document does not fit.
    """

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        """What each document goes on with: only the new text, cut before the first of the `stop` strings."""
        ...

    def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
        """The natural logarithm of the probability that each document goes on with its string."""
        ...


@dataclass(frozen=True, kw_only=True)
class MM1Model:
    """An MM1 with its tokenizer; `dataclasses.replace(model, sampling=…)` for anything but greedy text."""

    engine: Engine
    encoder: DocumentEncoder
    sampling: SamplingConfig = GREEDY

    @staticmethod
    def of(
        model: MM1,
        tokenizer: Tokenizer,
        sampling: SamplingConfig = GREEDY,
        max_len: int = 8192,
        sub_images: SubImagesConfig = WHOLE,
    ) -> MM1Model:
        """A model in memory, on the device where its weights are; pictures become images as `sub_images` says.

        Raises:
            UserError: the tokenizer has ids that the model has no embeddings for.
        """
        decoder, image_encoder = model.config.decoder, model.config.image_encoder
        if tokenizer.vocab_size > decoder.vocab_size:
            raise UserError(
                f"{tokenizer.path} has {tokenizer.vocab_size} ids, the model {decoder.vocab_size}: give the tokenizer "
                "that the model was trained with"
            )
        # A text model is refused every image, so it has no use for a size.
        size = image_encoder.image_size if image_encoder is not None else 1
        return MM1Model(
            engine=Engine(
                model,
                eos_id=tokenizer.eos_id,
                banned_ids=tokenizer.never_generated(decoder.vocab_size),
                max_len=max_len,
            ),
            encoder=DocumentEncoder(
                tokenizer, model.config.num_image_tokens, size, sub_images, DecodedImages(DECODED_BYTES)
            ),
            sampling=sampling,
        )

    @staticmethod
    def load(
        folder: Path,
        device: torch.device | str = "cpu",
        sampling: SamplingConfig = GREEDY,
        max_len: int = 8192,
        dtype: torch.dtype = torch.float32,
    ) -> MM1Model:
        """The checkpoint in `folder`, its weights and all that is computed with them in `dtype`.

        Raises:
            UserError: a file is missing or damaged, or weights, config and tokenizer do not fit together.
        """
        checkpoint = open_checkpoint(folder)
        model, tokenizer = checkpoint.load_model(device, dtype), checkpoint.tokenizer
        return MM1Model.of(model, tokenizer, sampling, max_len, checkpoint.config.data.sub_images)

    def generate(self, documents: Sequence[Document], max_new_tokens: int, stop: tuple[str, ...]) -> list[str]:
        """See EvalModel.

        Raises:
            UserError: an empty document, an unreadable image.
            PromptTooLong: as EvalModel says.
        """
        decode = self.encoder.tokenizer.decode
        prompts = [self.prompt(document, max_new_tokens, stop) for document in documents]
        self._check_lengths([(d.id, p, max_new_tokens) for d, p in zip(documents, prompts, strict=True)])
        return [cut(decode(done.tokens), stop) for done in self.engine.generate(prompts)]

    def loglikelihood(self, pairs: Sequence[tuple[Document, str]]) -> list[float]:
        """See EvalModel. The string is tokenised apart from the document, as generated text is.

        That is also how the two are tokenised together where the string begins with a space before a word (" red") and
        the document does not end with one.

        Raises:
            UserError: an empty document or string, an unreadable image.
            PromptTooLong: as EvalModel says.
        """
        # Candidates of one question repeat its document, which may hold many images: decode them once.
        prompts = {document: self.prompt(document) for document in dict.fromkeys(document for document, _ in pairs)}
        continuations = [self._continuation(*pair) for pair in pairs]
        self._check_lengths(
            [(d.id, prompts[d], len(tokens)) for (d, _), tokens in zip(pairs, continuations, strict=True)]
        )
        return self.engine.loglikelihood([prompts[document] for document, _ in pairs], continuations)

    def _continuation(self, document: Document, string: str) -> list[int]:
        """The string's tokens, which may be a document's first: its BOS may be all that precedes them."""
        beginning = first_piece(document.segments) == len(document.segments)
        return self.encoder.tokenizer.encode(string, beginning)

    def _check_lengths(self, asked: Sequence[tuple[str, Prompt, int]]) -> None:
        """`asked`: id, prompt and number of new tokens of each."""
        lengths = [(id_, len(prompt.tokens) + new) for id_, prompt, new in asked]
        if too_long := {id_: length for id_, length in lengths if length > self.engine.max_len}:
            raise PromptTooLong(too_long, self.engine.max_len)

    def prompt(
        self,
        document: Document,
        max_new_tokens: int = 1,
        stop: tuple[str, ...] = (),
        sampling: SamplingConfig | None = None,
        stop_tokens: Collection[int] = (),
    ) -> Prompt:
        """The document as the engine is asked it; `cut` takes a stop string off what comes back.

        Raises:
            UserError: an empty document, or an unreadable image.
        """
        try:
            sample = self.encoder.encode(document, end=False)
        except BadImage as error:
            raise UserError(f"document '{document.id}' has an image that is {error.reason}: replace it") from None
        ends = stop_function(self.encoder.tokenizer, stop)
        return Prompt.of(sample, max_new_tokens, ends, sampling or self.sampling, frozenset(stop_tokens))


def cut(text: str, stop: Sequence[str]) -> str:
    """`text` up to where the first of the stop strings begins, wherever the tokens' borders were."""
    return text[: min((place for string in stop if (place := text.find(string)) >= 0), default=len(text))]


def stop_function(tokenizer: Tokenizer, stop: tuple[str, ...]) -> StopFunction | None:
    """Whether the text so far holds a stop string. Decodes it all: a tail alone may decode to something else."""
    if not stop:
        return None
    return lambda tokens: any(string in tokenizer.decode(tokens) for string in stop)
