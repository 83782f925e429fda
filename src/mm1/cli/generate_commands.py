"""`mm1 generate`: a file of documents to a file of what a model goes on with."""

from __future__ import annotations

import codecs
import re
from argparse import Namespace
from typing import Any

from rich.console import Console

from mm1.chain.finished import checkpoint_folder
from mm1.cli.loading import load
from mm1.cli.options import from_options
from mm1.cli.progress import GenerateProgress
from mm1.config import UserError
from mm1.eval.continuations import ContinueConfig, continue_documents

console = Console(highlight=False, soft_wrap=True, markup=False)

OTHERS = {"stop_tokens": "--stop-token"}


def generate(arguments: Namespace) -> None:
    """Every document's text, then what came of them."""
    config = from_options(ContinueConfig, _asked(arguments), OTHERS)
    folder = checkpoint_folder(arguments.checkpoint, arguments.stage)
    loaded = load(folder, arguments)
    with GenerateProgress(console) as progress:
        done = continue_documents(loaded.model, loaded.digest, arguments.documents, arguments.out, config, progress)
    console.print(f"{done.answered:,} documents continued, {done.found:,} were there before → {arguments.out}")
    for reason, count in sorted(done.failed.items(), key=lambda pair: -pair[1])[:10]:
        console.print(f"   {count:,} not: {reason}")
    if done.answered + done.found == 0:
        raise UserError(
            f"{arguments.documents} holds no document that could be continued: see {arguments.out} for what is wrong "
            "with each line"
            if done.failed
            else f"{arguments.documents} is empty: give documents, one JSON object a line"
        )
    statistics = loaded.model.engine.statistics
    if statistics.prompts:
        console.print(
            f"   {statistics.tokens_per_second:,.1f} new tokens/s; {statistics.images_encoded:,} of "
            f"{statistics.images:,} images encoded; {statistics.prefix_hit_share:.0%} of the prompts were shared"
        )


def _asked(arguments: Namespace) -> dict[str, Any]:
    """What was typed, in the config's words; what was not has its defaults."""
    sampling = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")}
    values = {
        "max_new_tokens": arguments.max_new_tokens,
        "stop": [_unescaped(text) for text in arguments.stop or ()],
        "stop_tokens": arguments.stop_token or [],
        "sampling": {name: value for name, value in sampling.items() if value is not None},
        "logprobs": arguments.logprobs,
        "batch": arguments.batch,
    }
    return {name: value for name, value in values.items() if value is not None}


def _unescaped(text: str) -> str:
    r"""What a shell makes hard to type: \n, \t, \\."""
    return re.sub(r"\\[nt\\]", lambda match: codecs.decode(match.group(), "unicode_escape"), text)
