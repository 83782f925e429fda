"""mm1 as a contestant: a stage's own loop, objective, optimizers and precision over packed batches.

Nothing here trains: `run_stage` is made of the same parts. Knows nothing of the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from mm1.bench.contestant import Description, Timing, timed
from mm1.bench.size import count_parameters, nearest_width
from mm1.distributed.mesh import World
from mm1.models.connector import CAbstractorConfig
from mm1.models.counts import parameters_by_part
from mm1.models.mm1 import MM1, MM1Config
from mm1.train.loop import train
from mm1.train.objectives import build_objective
from mm1.train.parallelize import resolve_precision
from mm1.train.run import deterministic, initial_state, loop_config
from mm1.train.stage import StageConfig
from mm1.types import Batch


class PackedTraining:
    """Trains a stage's model, from random weights, on the same batches in every repetition."""

    def __init__(
        self, name: str, stage: StageConfig, batches: Callable[[], Iterable[Batch]], world: World, *, loads: bool
    ) -> None:
        """`batches` gives those of a repetition; `loads` says whether making them is work worth telling of."""
        self.batches = batches
        self._loads = loads
        self._device = world.device
        self._objective = build_objective(stage.objective, stage.loss)
        self._state = initial_state(stage, {}, world)
        self._loop = loop_config(stage, world)
        shapes = [(batch.segment_ids.numel(), int((batch.segment_ids >= 0).sum())) for batch in batches()]
        self.description = Description(
            name=name,
            parameters={
                part: count for part, count in parameters_by_part(self._state.model).items() if "active" not in part
            },
            image_tokens=stage.model.num_image_tokens,
            optimizer={"muon": "Muon and AdamW", "adamw": "AdamW", "adafactor": "Adafactor"}[stage.optimizer.kind],
            precision=resolve_precision(stage.precision, world.device),
            batch=f"{stage.data.rows} rows of {stage.data.seq_len}, packed",
            steps=len(shapes),
            positions=sum(positions for positions, _ in shapes),
            filled=sum(filled for _, filled in shapes),
        )

    def warm_up(self) -> None:
        """One step."""
        self._train(1)

    def run(self) -> Timing:
        """All batches once."""
        before = self._state.clock.seconds["data"]
        timing = timed(lambda: self._train(self.description.steps), self._device)
        data_seconds = self._state.clock.seconds["data"] - before
        return replace(timing, data_seconds=data_seconds if self._loads else None)

    def _train(self, steps: int) -> None:
        with deterministic(self._device):
            loop = replace(self._loop, steps=self._state.step + steps)
            train(self._state, self._objective, iter(self.batches()), loop)


def without_pooling(model: MM1Config) -> MM1Config:
    """`model` with as many image tokens as patches and Llava's two-layer projector between them, its decoder's MLP
    widened until it has its old number of parameters.
    """
    assert model.image_encoder is not None
    projector = CAbstractorConfig(num_image_tokens=model.image_encoder.num_patches, depth=0, mlp_depth=2)

    def of_width(mlp_dim: int) -> MM1Config:
        return model.replace(connector=projector, decoder=model.decoder.replace(mlp_dim=mlp_dim))

    target = count_parameters(lambda: MM1(model))
    return of_width(nearest_width(lambda width: count_parameters(lambda: MM1(of_width(width))), target))
