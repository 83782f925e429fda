"""What new layers begin with, by their kind; and that a model without memory can tell as well."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mm1.models.experts import GroupedLinear
from mm1.models.initialization import STD, Beginning, beginning, cut_normals, fill, filled, initialise, key_of

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
    assert str(told["output.weight"]) == "truncated normal 0.00408"
    assert (str(told["enter.bias"]), str(told["rms.weight"])) == ("0", "1")


def test_a_filled_parameter_and_one_that_nobody_filled() -> None:
    parameter = filled(3, 0.25)
    assert parameter.tolist() == [0.25] * 3
    assert beginning(parameter) == Beginning(value=0.25)
    with pytest.raises(AssertionError, match="was not filled"):
        beginning(nn.Parameter(torch.zeros(2)))


def test_numbers_are_those_of_a_cut_normal() -> None:
    numbers = cut_normals(torch.arange(200_000), key_of(0, "weight")).double()
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = normal.cdf(torch.tensor(-3.0)), normal.cdf(torch.tensor(3.0))
    expected = ((normal.cdf(numbers.sort().values) - low) / (high - low)).double()
    evenly = (torch.arange(200_000) + 0.5) / 200_000
    # Kolmogorov and Smirnov's distance, which chance alone keeps below this 999 times in 1000.
    assert float((expected - evenly).abs().max()) < 1.95 / 200_000**0.5
    assert float(numbers.abs().max()) <= 3
    # Neighbours have nothing to do with each other, nor the same places of other parameters.
    other = cut_normals(torch.arange(200_000), key_of(0, "bias")).double()
    for pair in ([numbers[1:], numbers[:-1]], [numbers, other], [numbers[2560:], numbers[:-2560]]):
        assert abs(float(torch.corrcoef(torch.stack(pair))[0, 1])) < 4 / 200_000**0.5


@pytest.mark.parametrize("shape", [(7,), (5, 600), (3, 11, 13), (4, 2, 3, 5), (600_000,)])
def test_a_part_is_filled_as_it_is_in_the_whole(shape: tuple[int, ...]) -> None:
    begins, key = Beginning(std=0.02), key_of(1, "w")
    whole = torch.empty(shape)
    fill(whole, begins, key)
    flat = torch.arange(whole.numel()).view(shape)
    chosen = [torch.arange(size)[size // 3 : size // 3 + max(1, size // 2)] for size in shape]
    strides = [flat.stride(axis) for axis in range(len(shape))]
    part = torch.empty([len(places) for places in chosen])
    fill(part, begins, key, [places * stride for places, stride in zip(chosen, strides, strict=True)])
    assert torch.equal(part, whole[torch.meshgrid(*chosen, indexing="ij")])
    empty = torch.empty(0, *shape[1:])
    fill(empty, begins, key, [torch.empty(0, dtype=torch.long), *(torch.arange(size) for size in shape[1:])])


def test_constants_and_keys() -> None:
    part = torch.empty(3)
    fill(part, Beginning(value=0.25), 0)
    assert part.tolist() == [0.25] * 3
    assert len({key_of(seed, name) for seed in range(3) for name in "ab"}) == 6
