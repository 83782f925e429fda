"""An MM1 as a model of lm-eval (EleutherAI's lm-evaluation-harness, 0.4.13), for its text tasks.

    simple_evaluate(MM1LM(MM1Model.load(folder)), tasks=["arc_easy"])
    simple_evaluate("mm1", "checkpoint=runs/tiny/pretrain", tasks=["arc_easy"])     # once this module is imported

Text is tokenised as lm-eval does it for its own models: a context and its continuation together, then cut. A tokenizer
with a BOS begins every context with it. What is too long for the model loses its beginning, as with lm-eval's own
models, and is counted in `truncated`. Knows nothing of tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401  # it registers lm-eval's own models only while no other is registered
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from mm1.eval.harness import MAX_NEW_TOKENS, sampling_of, until_of
from mm1.eval.model import MM1Model, cut, stop_function
from mm1.generate.request import Likelihood, Prompt
from mm1.generate.sampling import SamplingConfig


@register_model("mm1")
class MM1LM(TemplateLM):  # type: ignore[misc]
    """lm-eval's three calls on an MM1."""

    def __init__(
        self, model: MM1Model | None = None, checkpoint: str | None = None, device: str | None = None, **_: Any
    ) -> None:
        """Takes a model, or loads the checkpoint; lm-eval's other arguments are about batches, which mm1 makes itself.

        Raises:
            UserError: as MM1Model.load.
        """
        super().__init__()
        assert (model is None) != (checkpoint is None), "give a model or a checkpoint"
        self.model = model if model is not None else MM1Model.load(Path(str(checkpoint)), device or "cpu")
        self.truncated = 0
        """Contexts that lost their beginning."""

    @property
    def eot_token_id(self) -> int:
        """The end of text."""
        return self.model.encoder.tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        """What stands for an empty context: BOS, or EOS where there is none."""
        bos = self.model.encoder.tokenizer.bos_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """For the cache of requests."""
        return str(self.model.encoder.tokenizer.path)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The ids of a text that nothing precedes but what `_prompt` puts there, BOS: no special ones."""
        return self.model.encoder.tokenizer.encode(string, beginning=True)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        return [(one.logprob, one.is_greedy) for one in self._likelihoods(pairs)]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in windows as long as the model's limit."""
        windows: list[tuple[list[int], list[int]]] = []
        counts = []
        for request in requests:
            found = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.model.engine.max_len - 1,  # BOS may come to it
                context_len=1,
            )
            made = [make_disjoint_window(window) for window in found]
            windows += made
            counts.append(len(made))
        scores = iter(self._likelihoods(windows))
        return [sum(next(scores).logprob for _ in range(count)) for count in counts]

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Texts up to the first of each request's `until`, or to the end of text.

        A short model's texts have at most a quarter of its length, so that there is room for what is asked.
        """
        prompts, stops = [], []
        for request in requests:
            context, settings = request.args
            stops.append(until_of(settings))
            new = min(int(settings.get("max_gen_toks") or MAX_NEW_TOKENS), self.model.engine.max_len // 4)
            prompts.append(self._prompt(self.tok_encode(context), new, stops[-1], sampling_of(settings)))
        decode = self.model.encoder.tokenizer.decode
        done = self.model.engine.generate(prompts)
        return [cut(decode(one.tokens), stop) for one, stop in zip(done, stops, strict=True)]

    def _likelihoods(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[Likelihood]:
        prompts = [self._prompt(context, len(continuation)) for context, continuation in pairs]
        return self.model.engine.likelihoods(prompts, [continuation for _, continuation in pairs])

    def _prompt(
        self,
        context: Sequence[int],
        new_tokens: int,
        stop: tuple[str, ...] = (),
        sampling: SamplingConfig | None = None,
    ) -> Prompt:
        tokenizer = self.model.encoder.tokenizer
        begin = [] if tokenizer.bos_id is None or list(context[:1]) == [tokenizer.bos_id] else [tokenizer.bos_id]
        room = self.model.engine.max_len - new_tokens - len(begin)
        self.truncated += len(context) > room
        ids = [*begin, *context[max(0, len(context) - room) :]]
        return Prompt(
            tokens=np.array(ids or [self.prefix_token_id], np.int32),
            max_new_tokens=new_tokens,
            stop=stop_function(tokenizer, stop),
            sampling=sampling or self.model.sampling,
        )
