"""What new layers begin with, by their kind; and that a model without memory can tell as well."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mm1.models.experts import GroupedLinear
from mm1.models.initialization import STD, beginning, filled, initialise

CUT = 0.9867
"""Standard deviation of a normal that is cut at three of its own."""


class Layers(nn.Module):
    """One of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(300, 400)
        self.output = nn.Linear(300, 400)
        self.down = GroupedLinear(4, 200, 100)
        self.stem = nn.Conv2d(3, 500, 14)
        self.depthwise = nn.Conv2d(4000, 4000, 3, groups=4000)
        self.embedding = nn.Embedding(300, 400)
        self.norm = nn.LayerNorm(8)
        self.rms = nn.RMSNorm(8)


STDS = {
    "enter": STD,
    "output": STD / 24**0.5,  # of twelve layers with two branches each
    "down": STD / 24**0.5,
    "stem": (3 * 14 * 14) ** -0.5,
    "depthwise": 1 / 3,
    "embedding": STD,
}


@pytest.fixture(scope="module")
def layers() -> Layers:
    torch.manual_seed(0)
    made = Layers()
    initialise(made, num_layers=12, residual_outputs=("output", "down"))
    return made


@pytest.mark.parametrize("name", STDS)
def test_weights_are_normals_of_the_right_width_cut_at_three_deviations(layers: Layers, name: str) -> None:
    weight = layers.get_parameter(f"{name}.weight").detach()
    assert weight.std().item() == pytest.approx(CUT * STDS[name], rel=0.02)
    assert abs(weight.mean().item()) < STDS[name] / 50
    assert 2.5 * STDS[name] < weight.abs().max().item() <= 3 * STDS[name] * (1 + 1e-6)


def test_a_convolution_keeps_the_variance_of_what_goes_in(layers: Layers) -> None:
    with torch.no_grad():
        features = layers.stem(torch.randn(8, 3, 28, 28))
    assert features.std().item() == pytest.approx(1, rel=0.05)


def test_biases_are_0_and_norms_1(layers: Layers) -> None:
    for name, parameter in layers.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
    assert (layers.norm.weight == 1).all()
    assert (layers.rms.weight == 1).all()


def test_what_a_parameter_began_with_is_known_without_memory_too(layers: Layers) -> None:
    with torch.device("meta"):
        empty = Layers()
    initialise(empty, num_layers=12, residual_outputs=("output", "down"))
    told = {name: beginning(parameter) for name, parameter in empty.named_parameters()}
    assert told == {name: beginning(parameter) for name, parameter in layers.named_parameters()}
    assert told["output.weight"] == "truncated normal 0.00408"
    assert (told["enter.bias"], told["rms.weight"]) == ("0", "1")


def test_a_filled_parameter_and_one_that_nobody_filled() -> None:
    parameter = filled(3, 0.25)
    assert parameter.tolist() == [0.25] * 3
    assert beginning(parameter) == "0.25"
    with pytest.raises(AssertionError, match="was not filled"):
        beginning(nn.Parameter(torch.zeros(2)))
