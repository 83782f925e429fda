"""How a stage is spread: how many copies, over how many devices each is sharded, over how many its experts.

    replicate × shard = devices        experts divides shard       rows a device = rows of the batch / devices

    parse("replicate=8,shard=8,microbatch_rows=2,activation_checkpointing=full")

Knows nothing of what a layout costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import PositiveInt

from mm1.config import Config, UserError, from_json

Checkpointing = Literal["none", "selective", "full"]
"""What a block's backward finds: all that its forward made; its products and attention; its input alone."""


class Layout(Config):
    """One way."""

    replicate: PositiveInt = 1
    """Copies of the model; gradients are summed among them."""
    shard: PositiveInt = 1
    """Devices over which a copy's weights, gradients and optimizer state are cut."""
    experts: PositiveInt = 1
    """Of those, the devices among which the experts are shared out; tokens travel to them."""
    microbatch_rows: PositiveInt = 1
    activation_checkpointing: Checkpointing = "none"

    @property
    def devices(self) -> int:
        return self.replicate * self.shard

    def accumulation(self, rows: int) -> int:
        """Microbatches of a step with `rows` rows in all."""
        return rows // self.devices // self.microbatch_rows

    def check(self, devices: int, rows: int, experts: int) -> None:
        """That it is one for so many devices, rows a step and experts a layer (0: none).

        Raises:
            UserError: it is not.
        """
        if self.devices != devices:
            raise UserError(
                f"--layout has replicate={self.replicate} x shard={self.shard} = {self.devices} devices, but --gpus is "
                f"{devices}: make them equal"
            )
        if rows % (devices * self.microbatch_rows):
            raise UserError(
                f"--layout microbatch_rows={self.microbatch_rows} on {devices} devices does not divide the {rows} "
                "data.rows: choose a divisor, or another data.rows"
            )
        if self.shard % self.experts or (self.experts > 1 and (not experts or experts % self.experts)):
            raise UserError(
                f"--layout experts={self.experts} must divide shard={self.shard} and the {experts} experts of a layer"
            )


def parse(text: str) -> Layout:
    """`replicate=2,shard=8,…`; what is left out is 1, or none.

    Raises:
        UserError: an unknown key or a bad value.
    """
    pairs = [item.partition("=") for item in text.split(",")]
    values = {key.strip(): value.strip() for key, _, value in pairs}
    return from_json(Layout, values, "--layout")


def candidates(devices: int, rows: int, experts: int, most_rows: int = 64) -> Iterator[Layout]:
    """Every layout of so many devices; the fewest rows come first."""
    each = rows // devices
    for microbatch in (one for one in _divisors(each) if one <= most_rows):
        for shard in _divisors(devices):
            for expert in _divisors(experts) if experts else [1]:
                if shard % expert == 0:
                    for checkpointing in get_args(Checkpointing):
                        yield Layout(
                            replicate=devices // shard,
                            shard=shard,
                            experts=expert,
                            microbatch_rows=microbatch,
                            activation_checkpointing=checkpointing,
                        )


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]
