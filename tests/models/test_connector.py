"""The three connectors: shapes, sizes of the paper, an independent C-Abstractor, pooling, and no images at all."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mm1.config import UserError
from mm1.models.connector import (
    AttentionPoolConfig,
    AvgPoolConfig,
    Bottleneck,
    CAbstractorConfig,
    build_connector,
    pool,
)

KINDS = {
    "avg_pool": AvgPoolConfig(),
    "attention_pool": AttentionPoolConfig(),
    "c_abstractor": CAbstractorConfig(hidden_dim=24, depth=2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [27, 24, 16])
def test_any_grid_becomes_144_tokens(kind, grid):
    connector = build_connector(KINDS[kind], position_grid=grid, input_dim=16, output_dim=20)
    assert connector.num_image_tokens == 144
    assert connector(torch.randn(2, grid, grid, 16)).shape == (2, 144, 20)


@pytest.mark.parametrize("kind", KINDS)
def test_images_do_not_mix(kind):
    connector = build_connector(KINDS[kind], position_grid=16, input_dim=16, output_dim=20)
    features = torch.randn(3, 16, 16, 16)
    alone = torch.cat([connector(image[None]) for image in features])
    torch.testing.assert_close(connector(features), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("autocast", [False, True])
def test_no_images_give_no_tokens_and_zero_gradients(kind, autocast):
    connector = build_connector(KINDS[kind], position_grid=16, input_dim=16, output_dim=20)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        tokens = connector(torch.zeros(0, 16, 16, 16))
    assert tokens.shape == (0, 144, 20)
    tokens.sum().backward()
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    connector = build_connector(KINDS[kind], position_grid=16, input_dim=16, output_dim=20)
    connector(torch.randn(2, 16, 16, 16)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in connector.parameters())


@pytest.mark.parametrize(
    ("grid", "input_dim", "output_dim", "millions"),
    [(27, 1280, 2560, 27.6), (27, 1280, 4096, 39.4), (27, 1280, 7168, 77.2), (24, 1024, 2048, 22.7)],
)
def test_c_abstractor_has_as_many_parameters_as_honeybees(grid, input_dim, output_dim, millions):
    with torch.device("meta"):
        connector = build_connector(CAbstractorConfig(), grid, input_dim, output_dim)
    assert round(sum(parameter.numel() for parameter in connector.parameters()) / 1e6, 1) == millions


class ReferenceBottleneck(nn.Module):
    """timm's RegNet bottleneck as Honeybee configures it, channels first, written from its description.

    timm itself imports torchvision, which has no build beside a CPU torch, so it can not be imported here.
    """

    def __init__(self, source: Bottleneck) -> None:
        super().__init__()
        self.source = source

    def forward(self, x):
        s = self.source

        def norm(layer, x):
            mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
            scale, shift = layer.weight[:, None, None], layer.bias[:, None, None]
            return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

        def one_by_one(layer, x):
            return F.conv2d(x, layer.weight[:, :, None, None], layer.bias)

        y = F.silu(norm(s.enter_norm, one_by_one(s.enter, x)))
        y = F.conv2d(y, s.depthwise.weight, padding=1, groups=y.shape[1])
        y = F.silu(norm(s.depthwise_norm, y))
        squeezed = F.silu(one_by_one(s.squeeze, F.adaptive_avg_pool2d(y, 1)))
        y = y * one_by_one(s.excite, squeezed).sigmoid()
        y = norm(s.leave_norm, one_by_one(s.leave, y))
        shortcut = x if x.shape[1] == y.shape[1] else norm(s.shortcut_norm, one_by_one(s.shortcut, x))
        return F.silu(y + shortcut)


@pytest.mark.parametrize(("grid", "input_dim"), [(7, 12), (8, 20)])
def test_c_abstractor_equals_a_channels_first_reference(grid, input_dim):
    torch.manual_seed(0)
    config = CAbstractorConfig(num_image_tokens=16, hidden_dim=20)
    connector = build_connector(config, grid, input_dim, output_dim=24)
    for parameter in connector.parameters():
        nn.init.normal_(parameter, std=0.3)
    features = torch.randn(2, grid, grid, input_dim)
    x = (features + connector.positions.view(grid, grid, input_dim)).permute(0, 3, 1, 2)
    for block in connector.before:
        x = ReferenceBottleneck(block)(x)
    x = F.adaptive_avg_pool2d(x, 4)
    for block in connector.after:
        x = ReferenceBottleneck(block)(x)
    first, _, second = connector.read_out
    expected = second(F.silu(first(x.flatten(2).transpose(1, 2))))
    torch.testing.assert_close(connector(features), expected, atol=1e-4, rtol=1e-4)


def test_c_abstractor_without_depth_is_a_pool_and_an_mlp():
    connector = build_connector(CAbstractorConfig(num_image_tokens=4, depth=0, mlp_depth=1), 4, 8, 8)
    assert sum(parameter.numel() for parameter in connector.parameters()) == 16 * 8 + 8 * 8 + 8


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 30), side=st.integers(1, 14), images=st.integers(0, 2))
def test_pool_equals_adaptive_average_pooling(size, side, images):
    grid = torch.randn(images, size, size, 3)
    expected = F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1)
    torch.testing.assert_close(pool(grid, side), expected)


def test_average_pool_keeps_tokens_in_raster_order():
    connector = build_connector(AvgPoolConfig(num_image_tokens=4), 4, 1, 1)
    nn.init.ones_(connector.projection.weight)
    rows = torch.arange(16.0).view(1, 4, 4, 1)
    assert connector(rows)[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]


def test_attention_pool_does_not_care_for_the_order_of_patches():
    """It has no positions of its own: the encoder's features carry them."""
    connector = build_connector(AttentionPoolConfig(num_image_tokens=9), 4, 8, 8)
    features = torch.randn(1, 4, 4, 8)
    shuffled = features.flatten(1, 2)[:, torch.randperm(16)].unflatten(1, (4, 4))
    torch.testing.assert_close(connector(features), connector(shuffled))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (AvgPoolConfig(num_image_tokens=5), "num_image_tokens is 5, .* choose 4 or 9"),
        (CAbstractorConfig(num_image_tokens=8), "num_image_tokens is 8, .* choose 4 or 9"),
        (AttentionPoolConfig(num_heads=3), "num_heads 3 does not divide the encoder's dim 8"),
    ],
)
def test_impossible_shapes_are_refused_with_both_numbers(config, words):
    with pytest.raises(UserError, match=words):
        build_connector(config, 4, 8, 8)
