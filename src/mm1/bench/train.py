"""`mm1 bench train`: useful tokens a second of mm1's training step beside Hugging Face's Llava of equal size.

    documents of the tiny recipe ─┬→ packed rows      → mm1 as the recipe has it, and with one image token a patch
                                  └→ padded batches   → Llava in the same order, and with batches grouped by length

All contestants train on the same documents in one process, a repetition of each in turn; what is compared are medians.
Knows nothing of how the figures are shown.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from mm1.bench.contestant import Contestant, Timing
from mm1.bench.documents import Workload, longer_rows, make_workload, packed, with_image_tokens
from mm1.bench.figures import Figures
from mm1.bench.llava import PaddedTraining, by_length, equal_llava, padded
from mm1.bench.packed import PackedTraining, without_pooling
from mm1.chain.recipe import RecipeConfig
from mm1.chain.summary import environment
from mm1.config import Config, UserError
from mm1.data.encode import DocumentEncoder
from mm1.distributed.mesh import World, joined
from mm1.models.mm1 import MM1Config
from mm1.recipes.tiny import tiny
from mm1.types import Sample


class TrainBenchConfig(Config):
    """How much is measured, and where."""

    repetitions: PositiveInt = 5
    steps: PositiveInt = 8
    """Of the recipe's training: their documents are what every contestant trains on in a repetition."""
    device: Literal["cpu", "cuda"] | None = None
    """CUDA where there is one when None."""
    documents_per_source: PositiveInt = 256
    """Held in memory; a source from which more are read begins again."""


def bench_train(config: TrainBenchConfig, say: Callable[[str], None], recipe: RecipeConfig | None = None) -> Figures:
    """Measures, and says what it is doing; `recipe` is `tiny` where None.

    Raises:
        UserError: transformers is not installed, there is no such device, or torchrun started several processes.
    """
    recipe = recipe or tiny()
    load = os.getloadavg()[0]
    with joined(config.device) as world, tempfile.TemporaryDirectory() as folder:
        if world.size > 1:
            raise UserError(f"mm1 bench measures one process, but {world.size} were started: leave torchrun out")
        say("making documents")
        workload = make_workload(recipe, config.steps, Path(folder), config.documents_per_source)
        contestants = make_contestants(recipe, workload, world)
        for key, contestant in contestants.items():
            say(f"warming up {key}")
            contestant.warm_up()
        timings = _repeat(contestants, config.repetitions, say)
    return Figures(
        device=str(world.device),
        environment={**environment(), "transformers": version("transformers"), "load": load},
        documents=len(workload.samples),
        supervised_tokens=workload.supervised_tokens,
        text_tokens=workload.text_tokens,
        images=workload.images,
        contestants={key: contestant.description for key, contestant in contestants.items()},
        timings=timings,
    )


def make_contestants(recipe: RecipeConfig, workload: Workload, world: World) -> dict[str, Contestant]:
    """mm1 and Llava, each in two ways, over the documents of `workload`; by the keys that the figures use."""
    model, data, tokenizer = recipe.pretrain.model, recipe.pretrain.data, workload.tokenizer
    assert isinstance(model, MM1Config)
    encoder = model.image_encoder
    assert encoder is not None
    stage = recipe.pretrain.replace(init={})
    unpooled = without_pooling(model)
    samples = [with_image_tokens(sample, unpooled.num_image_tokens, tokenizer.image_id) for sample in workload.samples]
    longer = longer_rows(data, samples)
    rows = packed(samples, longer, DocumentEncoder(tokenizer, unpooled.num_image_tokens, data.image_size))

    def llava(name: str, ordered: list[Sample]) -> PaddedTraining:
        batches = padded(ordered, tokenizer, encoder)
        return PaddedTraining(name, equal_llava(model, tokenizer), batches, world.device)

    return {
        "mm1": PackedTraining("mm1", stage, workload.batches, world, loads=True),
        "mm1_unpooled": PackedTraining(
            "mm1, unpooled", stage.replace(model=unpooled, data=longer), lambda: rows, world, loads=False
        ),
        "llava": llava("Llava", samples),
        "llava_grouped": llava("Llava, grouped", by_length(samples)),
    }


def _repeat(
    contestants: dict[str, Contestant], repetitions: int, say: Callable[[str], None]
) -> dict[str, list[Timing]]:
    """Every contestant in turn, every second round backwards, so that a drift of the machine's speed favours none."""
    timings: dict[str, list[Timing]] = {key: [] for key in contestants}
    for repetition in range(repetitions):
        for key in [*contestants][:: -1 if repetition % 2 else 1]:
            timings[key].append(contestants[key].run())
        seconds = ", ".join(f"{key} {rows[-1].seconds:.1f} s" for key, rows in timings.items())
        say(f"repetition {repetition + 1} of {repetitions}: {seconds}")
    return timings
