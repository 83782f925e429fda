"""`mm1 curate recaption`: a set of caption pairs to the same with synthetic captions."""

from __future__ import annotations

import shlex
import time
from argparse import Namespace
from pathlib import Path

from rich.console import Console

from mm1.chain.finished import checkpoint_folder
from mm1.cli.loading import Loaded, load
from mm1.cli.options import at_least, prompt_of
from mm1.cli.progress import RateProgress
from mm1.config import UserError, from_json
from mm1.curation.recaption.addresses import AddressWriter
from mm1.curation.recaption.checkpoints import CheckpointWriter
from mm1.curation.recaption.config import RecaptionConfig
from mm1.curation.recaption.prompts import CAPTION, FUSION, Prompts
from mm1.curation.recaption.run import RECAPTIONED, RECORD, recaption
from mm1.curation.recaption.writers import Writer
from mm1.eval.chat_api import ChatClient, ChatConfig

console = Console(highlight=False, soft_wrap=True, markup=False)


def curate_recaption(arguments: Namespace) -> None:
    """The set, then what came of it."""
    numbers = {"--at-once": arguments.at_once, "--max-side": arguments.max_side, "--batch": arguments.batch}
    at_least(1, **numbers, **{"--max-new-tokens": arguments.max_new_tokens, "--max-len": arguments.max_len})
    asked = {"share": arguments.share, "max_words": arguments.max_words}
    config = from_json(RecaptionConfig, asked, "mm1 curate recaption")
    captioner, fuser = _Writers(arguments).both()
    # mm1's own captioners have learned to go on from a picture; whether they are chats as well, nothing tells.
    caption = "" if isinstance(captioner, CheckpointWriter) else CAPTION
    prompts = Prompts(
        caption=prompt_of(arguments.captioner_prompt, "--captioner-prompt") or caption,
        fusion=prompt_of(arguments.fuser_prompt, "--fuser-prompt") or FUSION,
    )
    with RecaptionProgress(console) as progress:
        done = recaption(
            arguments.captions, arguments.out, captioner, fuser, config, prompts, again=arguments.again,
            progress=progress,
        )  # fmt: skip
    counts = done.to_json()
    chosen = ", ".join(f"{number:,} with {name}" for name, number in counts["chosen"].items()) or "none"
    console.print(f"{counts['in']:,} documents came in, {counts['out']:,} are in the set: {chosen}")
    for what, reasons in (("kept their own text", done.failed), ("left out", done.dropped)):
        for reason, number in reasons.most_common():
            console.print(f"   {number:,} {what}: {reason}")
    if done.failed:
        console.print("What failed is asked again with --again")
    console.print(f"Figures: {arguments.out / RECORD}")
    words = ["mm1", "prepare", f"captions={arguments.out / RECAPTIONED}", "--out", str(arguments.out / "shards")]
    console.print(f"Next: {shlex.join(words)}")


class _Writers:
    """The captioner and the fuser that were typed; of one checkpoint that is both, one model."""

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._loaded: dict[Path, Loaded] = {}

    def both(self) -> tuple[Writer, Writer | None]:
        captioner = self._make("captioner")
        if captioner is None:
            raise UserError("no captioner is given: give --captioner CHECKPOINT, or --captioner-address URL")
        if isinstance(captioner, CheckpointWriter) and not captioner.sees:
            raise UserError(f"--captioner is {self._arguments.captioner}, which reads text only: give one with images")
        return captioner, self._make("fuser")

    def _make(self, role: str) -> Writer | None:
        found = {
            name: getattr(self._arguments, f"{role}_{name}") for name in ("address", "model", "key_file", "prompt")
        }
        checkpoint = getattr(self._arguments, role)
        given = [name for name, value in found.items() if value is not None]
        if checkpoint is not None and found["address"] is not None:
            raise UserError(f"--{role} and --{role}-address are given: give one of them")
        if checkpoint is None and found["address"] is None:
            if given:
                option = f"--{role}-{given[0]}".replace("_", "-")
                raise UserError(f"{option} is given, but neither --{role} nor --{role}-address: give one of them")
            return None
        return self._checkpoint(checkpoint) if checkpoint is not None else self._address(role, found)

    def _checkpoint(self, path: Path) -> CheckpointWriter:
        arguments = self._arguments
        folder = checkpoint_folder(path, None).resolve()
        if folder not in self._loaded:
            self._loaded[folder] = load(folder, arguments)
        loaded = self._loaded[folder]
        limits = {"max_new_tokens": arguments.max_new_tokens, "batch": arguments.batch}
        return CheckpointWriter(model=loaded.model, name=loaded.name, digest=loaded.digest, **limits)

    def _address(self, role: str, found: dict[str, str | Path | None]) -> AddressWriter:
        arguments = self._arguments
        if found["model"] is None:
            raise UserError(f"--{role}-address is given without --{role}-model: give the model's name there")
        asked = {name: found[name] for name in ("address", "model", "key_file")}
        limits = {
            "max_tokens": arguments.max_new_tokens,
            "per_second": arguments.rate,
            "retries": arguments.retries,
            "timeout": arguments.timeout,
        }
        client = ChatClient(from_json(ChatConfig, {**asked, **limits}, f"--{role}-address"))
        return AddressWriter(client=client, at_once=arguments.at_once, max_side=arguments.max_side)


class RecaptionProgress(RateProgress):
    """A `mm1.curation.recaption.run.Progress`."""

    def __call__(self, files: int, total: int, pairs: int, questions: int) -> None:
        seconds = time.monotonic() - self._began
        rate = f"{questions / max(seconds, 1e-9):,.1f} questions/s"
        line = f"{files:,} of {total:,} files, {pairs:,} pairs, {questions:,} questions, {rate}"
        self.tell(seconds, files, total, rate, line)
