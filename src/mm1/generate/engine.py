"""The engine: many prompts at once through one model, with a cache of keys and values.

    engine = Engine(model, eos_id=1, banned_ids=(0, 2))
    engine.generate([Prompt(tokens=np.array([5, 9]), max_new_tokens=4)])      # [Completion(…)]
    engine.loglikelihood(prompts, continuations)                              # [-3.2, …]

Rows that have finished are dropped from the cache once half of them have. What a prompt gets does not depend on the
prompts beside it, up to the rounding of matrix products of another shape; experts that a capacity limits in training
take here what they are sent (the engine evaluates). Images and beginnings that prompts share are computed once, from
one call to the next too, until they are forgotten. Knows nothing of text, tasks or HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm1.config import UserError
from mm1.generate.batching import BatchPlan, Request, plan_batches
from mm1.generate.memory import ImageMemory, PrefixMemory, version
from mm1.generate.prefill import Prefill, Row, step
from mm1.generate.request import Completion, Likelihood, Prompt
from mm1.generate.sampling import choose
from mm1.generate.statistics import Statistics
from mm1.models.attention import LayerCache
from mm1.models.mm1 import MM1


@dataclass(slots=True)
class _Running:
    """A prompt whose completion is being made: one row of the cache."""

    request: int
    prompt: Prompt
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["eos", "stop", "length"] | None = None
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.prompt.sampling.seed)

    @property
    def slot(self) -> int:
        """Where the newest token stands; negative when nothing more is computed."""
        return -1 if self.finish_reason else len(self.prompt.tokens) + len(self.tokens) - 1

    def take(self, token: int, logprob: float, eos_id: int) -> None:
        """Adds a token, and ends the completion if it is time."""
        if token == eos_id:
            self.finish_reason = "eos"
            return
        if token in self.prompt.stop_tokens:
            self.finish_reason = "stop"
            return
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if self.prompt.stop is not None and self.prompt.stop(self.tokens):
            self.finish_reason = "stop"
        elif len(self.tokens) == self.prompt.max_new_tokens:
            self.finish_reason = "length"


class Engine:
    """Generates with `model`, on the device and in the precision of its weights."""

    def __init__(
        self,
        model: MM1,
        *,
        eos_id: int,
        banned_ids: Sequence[int],
        max_len: int = 8192,
        max_cached_positions: int = 32768,
        max_forward_positions: int = 4096,
        max_kept_positions: int = 8192,
        max_kept_image_positions: int = 32768,
    ) -> None:
        """Makes an engine.

        Args:
            model: put into evaluation mode.
            eos_id: ends a completion, and is not part of it.
            banned_ids: never generated, and without a share in any probability: padding, images, unused ids.
            max_len: the longest prompt with its new tokens.
            max_cached_positions: bounds the memory of a batch's cache.
            max_forward_positions: bounds the memory of a forward pass.
            max_kept_positions: bounds the memory of beginnings that are kept for later prompts.
            max_kept_image_positions: bounds the memory of image features that are kept.
        """
        self.model = model.eval()
        self.eos_id = eos_id
        self.max_len = max_len
        self.max_cached_positions = max_cached_positions
        self._device = next(model.parameters()).device
        self._banned = torch.tensor(sorted(set(banned_ids)), dtype=torch.int64, device=self._device)
        self._prefixes = PrefixMemory(max_kept_positions, only_whole=model.config.decoder.smeared_keys)
        self._images = ImageMemory(max_kept_image_positions)
        self._prefill = Prefill(model, self._images, self._prefixes, max_forward_positions)
        self._version = version(model)
        self._done = Statistics()

    @property
    def statistics(self) -> Statistics:
        """What was done in all calls so far."""
        return self._done + self._prefill.done

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """A completion for each prompt, in order.

        Raises:
            UserError: a prompt is too long for `max_len`, or its images do not fit the model.
        """
        for number, prompt in enumerate(prompts):
            self.check(prompt, prompt.max_new_tokens, f"prompt {number}")
        with self._call():
            rows = [self._row(prompt) for prompt in prompts]
            capacities = [len(prompt.tokens) + prompt.max_new_tokens - 1 for prompt in prompts]
            finished: list[_Running] = []
            for plan, cache, hidden in self._batches(rows, capacities):
                running = [_Running(request, prompts[request]) for request in plan.requests]
                self._decode(running, cache, torch.cat(hidden))
                finished += running
            finished.sort(key=lambda row: row.request)
            self._done += Statistics(new_tokens=sum(len(row.tokens) for row in finished))
            return [_completion(row) for row in finished]

    def loglikelihood(self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[int]]) -> list[float]:
        """The sum of the log-probabilities of each continuation's tokens after its prompt; see `likelihoods`."""
        return [one.logprob for one in self.likelihoods(prompts, continuations)]

    @torch.inference_mode()
    def likelihoods(self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[int]]) -> list[Likelihood]:
        """How likely each continuation is after its prompt.

        Prompts that occur several times, each time with another continuation, are computed once.

        Raises:
            UserError: an empty continuation, a banned id in one, or a prompt as for `generate`.
        """
        banned = set(self._banned.tolist())
        for number, (prompt, tokens) in enumerate(zip(prompts, continuations, strict=True)):
            if len(tokens) == 0 or banned & set(tokens):
                fault = f"has the banned ids {sorted(banned & set(tokens))}" if len(tokens) else "is empty"
                raise UserError(f"continuation {number} {fault}: give tokens that the model can generate")
            self.check(prompt, len(tokens), f"prompt {number}")
        with self._call():
            rows = [self._row(*pair) for pair in zip(prompts, continuations, strict=True)]
            found: dict[int, Likelihood] = {}
            for plan, _, hidden in self._batches(rows, [len(row.keys) for row in rows]):
                for request, states in zip(plan.requests, hidden, strict=True):
                    targets = torch.tensor(continuations[request], device=self._device)
                    scores = self._logits(states).log_softmax(-1)
                    logprob = float(scores.gather(-1, targets[:, None]).sum())
                    found[request] = Likelihood(logprob, bool((scores.argmax(-1) == targets).all()))
            return [found[number] for number in range(len(prompts))]

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Measures a call, and forgets what other weights have computed."""
        began, now = time.perf_counter(), version(self.model)
        if now != self._version:
            self._prefixes.clear()
            self._images.clear()
            self._version = now
        yield
        self._done += Statistics(seconds=time.perf_counter() - began)

    def _row(self, prompt: Prompt, continuation: Sequence[int] = ()) -> Row:
        """The prompt with all but the last token of the continuation, of which every token is wanted."""
        fed = np.concatenate([prompt.tokens, np.asarray(continuation[:-1], prompt.tokens.dtype)])
        numbers = self._images.number(prompt.images)
        self._done += Statistics(prompts=1, prompt_positions=len(fed), images=len(numbers))
        size = self.model.config.num_image_tokens
        return Row.of(replace(prompt, tokens=fed), numbers, size, wanted=max(1, len(continuation)))

    def _batches(
        self, rows: Sequence[Row], capacities: Sequence[int]
    ) -> Iterator[tuple[BatchPlan, list[LayerCache], list[Tensor]]]:
        """The rows in batches, computed: a cache, and each row's hidden states at the wanted last positions."""
        requests = []
        for row, capacity in zip(rows, capacities, strict=True):
            sharable = len(row.keys) - row.wanted
            requests.append(Request(row.keys, sharable, capacity, self._prefixes.longest(row.keys[:sharable])[0]))
        for plan in plan_batches(requests, self.max_cached_positions):
            chosen = [rows[request] for request in plan.requests]
            capacity = max(requests[request].capacity for request in plan.requests)
            cache, hidden = self._prefill.fill(plan, chosen, capacity)
            if len(rows) == 1:  # a conversation goes on from what was asked last
                self._prefixes.keep(rows[0].keys, cache, 0)
            yield plan, cache, hidden

    def _decode(self, rows: Sequence[_Running], cache: list[LayerCache], hidden: Float[Tensor, "B D"]) -> None:
        """Completes the rows, whose last positions' hidden states are given."""
        while True:
            logits = self._logits(hidden)
            uniforms = [row.random.random() if row.prompt.sampling.temperature else 0.0 for row in rows]
            chosen = choose(logits, [row.prompt.sampling for row in rows], uniforms)
            logprobs = logits.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
            for row, token, logprob in zip(rows, chosen.tolist(), logprobs.tolist(), strict=True):
                if not row.finish_reason:
                    row.take(token, logprob, self.eos_id)
            going = [index for index, row in enumerate(rows) if not row.finish_reason]
            if not going:
                return
            if 2 * len(going) <= len(rows):
                kept = torch.tensor(going, device=self._device)
                rows, chosen = [rows[index] for index in going], chosen[kept]
                cache = [layer.select(kept) for layer in cache]
            slots = torch.tensor([[row.slot] for row in rows], device=self._device)
            embeddings = self.model.decoder.embed(chosen[:, None])
            hidden = step(self.model.decoder, cache, embeddings, slots, max(row.slot for row in rows) + 1)[:, 0]

    def _logits(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        return self.model.logits(hidden).float().index_fill_(-1, self._banned, float("-inf"))

    def check(self, prompt: Prompt, new_tokens: int, name: str = "the prompt") -> None:
        """Whether the engine takes `prompt`, and so many tokens after it.

        Raises:
            UserError: it does not; `name` is what the sentence calls the prompt.
        """
        length, config = len(prompt.tokens), self.model.config
        if length + new_tokens > self.max_len:
            raise UserError(
                f"{name} has {length} tokens, with {new_tokens} new ones {length + new_tokens}, but the limit "
                f"is {self.max_len}: shorten it, or raise the limit (--max-len)"
            )
        if prompt.images and config.image_encoder is None:
            raise UserError(f"{name} has {len(prompt.images)} images, but the model reads text only")
        borders = [*prompt.image_starts, length]
        if any(stop - start < config.num_image_tokens for start, stop in pairwise(borders)):
            raise UserError(
                f"{name} leaves an image fewer than the {config.num_image_tokens} positions that this model's "
                "images take: encode it with the model's num_image_tokens"
            )
        for image in prompt.images:
            size = config.image_encoder.image_size if config.image_encoder else 0
            if image.shape != (size, size, 3):
                raise UserError(f"{name} has an image of {image.shape}, but the model takes {(size, size, 3)}")


def _completion(row: _Running) -> Completion:
    assert row.finish_reason is not None
    return Completion(tuple(row.tokens), tuple(row.logprobs), row.finish_reason)
