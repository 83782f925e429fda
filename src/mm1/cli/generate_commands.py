"""`mm1 generate`: a file of documents to a file of what a model goes on with."""

from __future__ import annotations

import codecs
import hashlib
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from mm1.chain.run import checkpoint_folder
from mm1.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from mm1.cli.progress import GenerateProgress
from mm1.config import UserError, from_json
from mm1.eval.continuations import ContinueConfig, continue_documents
from mm1.eval.model import MM1Model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

console = Console(highlight=False, soft_wrap=True, markup=False)


def generate(arguments: Namespace) -> None:
    """Every document's text, then what came of them."""
    at_least(1, **{"--max-len": arguments.max_len})
    config = from_json(ContinueConfig, _asked(arguments), "mm1 generate")
    folder = checkpoint_folder(arguments.checkpoint, arguments.stage)
    model, name = load(folder, arguments)
    with GenerateProgress(console) as progress:
        done = continue_documents(model, name, arguments.documents, arguments.out, config, progress)
    console.print(f"{done.answered:,} documents continued, {done.found:,} were there before → {arguments.out}")
    for reason, count in sorted(done.failed.items(), key=lambda pair: -pair[1])[:10]:
        console.print(f"   {count:,} not: {reason}")
    statistics = model.engine.statistics
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


def at_least(least: int, **numbers: int | None) -> None:
    """Refuses a number below `least`; None, for what was not typed, passes.

    Raises:
        UserError: naming the option.
    """
    for option, number in numbers.items():
        if number is not None and number < least:
            raise UserError(f"{option} is {number}: give at least {least}")


def load(folder: Path, arguments: Namespace) -> tuple[MM1Model, str]:
    """The model on the device and in the precision that were typed, and what tells it from every other.

    Raises:
        UserError: as MM1Model.load, or there is no such device, or it does not compute so.
    """
    where, dtype = device(arguments.device), DTYPES[arguments.dtype]
    if where.type == "cuda" and dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise UserError(f"--dtype is {arguments.dtype}, which this GPU does not compute in: leave it out")
    model = MM1Model.load(folder, where, max_len=arguments.max_len, dtype=dtype)
    return model, model_hash(folder) + ("" if dtype is torch.float32 else f" {arguments.dtype}")


def device(name: str | None) -> torch.device:
    """The device of that name; CUDA where there is one when None."""
    there = torch.cuda.is_available()
    try:
        found = torch.device(name or ("cuda" if there else "cpu"))
    except RuntimeError:
        raise UserError(f"--device is '{name}': give cpu or cuda") from None
    if found.type == "cuda" and not there:
        raise UserError(f"--device is {name}, but there is no CUDA here: leave it out, or give cpu")
    return found


def model_hash(folder: Path) -> str:
    """A hash of the model, so that another one's texts are never taken for its own."""
    content = hashlib.sha256()
    for name in (CONFIG, TOKENIZER, WEIGHTS):
        with (folder / name).open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()
