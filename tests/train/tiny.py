"""A training stage of a few seconds over made-up documents, for tests and for the processes they start.

python tests/train/tiny.py '[[RANKS, [["FOLDER", {"steps": 8}, STOP or null], …]], …]'      # one stage after another

STOP is [step, signal] or [step, signal, rank]. The last line that is printed is a list, for every number of ranks the
list of their exit codes.
"""

from __future__ import annotations

import functools
import io
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from mm1.data.encode import DocumentEncoder
from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, SourceConfig
from mm1.data.sources import ListSource, MeasuredSource, Source
from mm1.data.tokenizer import Tokenizer, train_tokenizer
from mm1.distributed.mesh import joined
from mm1.models.aim import AIMConfig
from mm1.models.clip import CLIPConfig
from mm1.models.connector import AvgPoolConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1Config
from mm1.models.moe import MoEConfig
from mm1.train.optimizer import OptimizerConfig
from mm1.train.run import run_stage
from mm1.train.schedule import ScheduleConfig
from mm1.train.stage import StageConfig
from mm1.types import Document, Image, Text

WORDS = ["red", "green", "blue", "cat", "dog", "bird", "sees", "takes", "the", "a", "one", "two", "three"]
ENCODER = ImageEncoderConfig(image_size=16, patch_size=8, dim=32, num_layers=2, num_heads=2, mlp_dim=64)
DECODER = DecoderConfig(vocab_size=320, dim=32, num_layers=2, num_heads=2, num_kv_heads=2, mlp_dim=64)
MODELS = {
    "mm1": MM1Config(decoder=DECODER, image_encoder=ENCODER, connector=AvgPoolConfig(num_image_tokens=4)),
    "moe": MM1Config(
        decoder=DECODER.replace(moe=MoEConfig(num_experts=4)),
        image_encoder=ENCODER,
        connector=AvgPoolConfig(num_image_tokens=4),
    ),
    "clip": CLIPConfig(image_encoder=ENCODER, text_tower=DECODER, embed_dim=16),
    "aim": AIMConfig(image_encoder=ENCODER, head_dim=16, head_depth=2),
}
OBJECTIVES = {"mm1": "next_token", "moe": "next_token", "clip": "contrastive", "aim": "autoregressive_pixels"}


def stage(model: str = "mm1", rows: int = 4, text_share: float = 0.5, **changes: Any) -> StageConfig:
    """Six steps, with a checkpoint every two of them."""
    groups = [GroupConfig(name="image_text", weight=1 - text_share, sources=(SourceConfig(name="captions"),))]
    if text_share:
        groups.append(GroupConfig(name="text_only", weight=text_share, sources=(SourceConfig(name="text"),)))
    data = DataConfig(mixture=MixtureConfig(groups=tuple(groups)), seq_len=64, rows=rows, image_size=16, seed=1)
    values: dict[str, Any] = {
        "model": MODELS[model],
        "objective": OBJECTIVES[model],
        "data": data,
        "optimizer": OptimizerConfig(kind="muon", learning_rate=3e-3, learning_rate_scales={"image_encoder": 0.5}),
        "schedule": ScheduleConfig(warmup_steps=2),
        "steps": 6,
        "log_every": 2,
        "checkpoint_every": 2,
        "precision": "fp32",
    }
    return StageConfig(**{**values, **changes})


def documents(name: str) -> list[Document]:
    """40 captions or texts, each the same for ever."""
    rng = np.random.default_rng(len(name))
    made = []
    for index in range(40):
        words = " ".join(rng.choice(WORDS, 12))
        picture = io.BytesIO()
        PillowImage.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(picture, "PNG")
        segments = (Image(picture.getvalue()), Text(words)) if name == "captions" else (Text(words),)
        made.append(Document(id=f"{name}-{index}", segments=segments, source=name))
    return made


def world_of(folder: Path, num_image_tokens: int = 4) -> tuple[Tokenizer, dict[str, Source]]:
    """A tokenizer, kept in `folder`, and the sources "captions" and "text"."""
    path = folder / "tokenizer.json"
    if not path.exists():
        train_tokenizer(iter([" ".join(WORDS)] * 4), 300, path)
    tokenizer = Tokenizer(path)
    encoder = DocumentEncoder(tokenizer, num_image_tokens, 16)
    return tokenizer, {
        name: MeasuredSource(ListSource(name, documents(name)), encoder) for name in ("captions", "text")
    }


class SignalAt:
    """A hook that sends this process a signal after a step; or only that of one rank."""

    def __init__(self, step: int, number: int, rank: int | None = None) -> None:
        self.step = step
        self.number = number
        self.is_meant = rank is None or os.environ.get("RANK") == str(rank)

    def on_step(self, info: Any) -> None:
        if self.is_meant and info.state.step == self.step:
            os.kill(os.getpid(), self.number)


def train(stages: list[Any]) -> None:
    """What every rank does."""
    with joined("cpu"):
        for folder, changes, stop in stages:
            config = stage(**changes)
            tokenizer, sources = world_of(Path(folder).parent, config.model.num_image_tokens)
            hooks = [] if stop is None else [SignalAt(*stop)]
            Path(folder).mkdir(exist_ok=True)
            run_stage(config, Path(folder), sources, tokenizer, hooks=hooks)


def fork_ranks(ranks: int, work: Callable[[], None]) -> list[int]:
    """Process ids of `ranks` processes that do `work` as a launcher's; forked, so that torch is imported once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    sys.stdout.flush()
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child:
            children.append(child)
            continue
        launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "RANK": str(rank)}
        os.environ.update({**launcher, "LOCAL_RANK": str(rank)} if ranks > 1 else {})
        code = 1
        try:
            work()
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return children


def exit_codes(children: list[int]) -> list[int]:
    """Of processes, when all have ended; -9 for SIGKILL."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    torch.set_num_threads(1)
    codes = [
        exit_codes(fork_ranks(number, functools.partial(train, stages))) for number, stages in json.loads(sys.argv[1])
    ]
    print(json.dumps(codes))
