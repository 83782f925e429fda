"""The three connectors: shapes, sizes of the paper, timm's C-Abstractor blocks, pooling, and no images at all."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from mm1.config import UserError
from mm1.models.connector import (
    AttentionPoolConfig,
    AvgPoolConfig,
    CAbstractorConfig,
    build_connector,
    pool,
)

TRUTH = Path(__file__).parent / "truth"
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


def timms_name(ours: str) -> str:
    """Of a parameter of a RegNet block."""
    modules = {
        "enter": "conv1.conv",
        "enter_norm": "conv1.bn",
        "depthwise": "conv2.conv",
        "depthwise_norm": "conv2.bn",
        "squeeze": "se.fc1",
        "excite": "se.fc2",
        "leave": "conv3.conv",
        "leave_norm": "conv3.bn",
        "shortcut": "downsample.conv",
        "shortcut_norm": "downsample.bn",
    }
    module, kind = ours.split(".")
    return f"{modules[module]}.{kind}"


def test_c_abstractor_computes_what_timms_reg_stages_compute():
    """Recorded (truth/README.md); worst difference measured: 4.2e-7, of values up to 1."""
    truth = load_file(TRUTH / "regstage.safetensors")
    config = CAbstractorConfig(num_image_tokens=16, hidden_dim=12, mlp_depth=1)
    connector = build_connector(config, position_grid=7, input_dim=20, output_dim=12)
    nn.init.zeros_(connector.positions)
    nn.init.eye_(connector.read_out[0].weight)
    unused = {name for name in truth if name.startswith(("before.", "after."))}
    for stage in ("before", "after"):
        for index, block in enumerate(getattr(connector, stage)):
            names = {ours: f"{stage}.b{index + 1}.{timms_name(ours)}" for ours in block.state_dict()}
            shapes = {name: tensor.shape for name, tensor in block.state_dict().items()}
            block.load_state_dict({ours: truth[name].view(shapes[ours]) for ours, name in names.items()})
            unused -= set(names.values())
    assert not unused
    features = truth["features"].permute(0, 2, 3, 1)
    before = connector.before(features).permute(0, 3, 1, 2)
    torch.testing.assert_close(before, truth["before_output"], atol=1e-5, rtol=0)
    output = connector(features).transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(output, truth["output"], atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    side=st.integers(1, 14),
    images=st.integers(0, 2),
)
def test_any_grid_becomes_any_square_of_tokens(kind, height, width, side, images):
    """Every parameter gets a finite gradient, and one that is not zero where there are images."""
    config = KINDS[kind].replace(num_image_tokens=side**2)
    connector = build_connector(config, position_grid=5, input_dim=8, output_dim=6)
    tokens = connector(torch.randn(images, height, width, 8))
    assert tokens.shape == (images, side**2, 6)
    tokens.square().sum().backward()
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if name == "positions":
            assert bool(parameter.grad.any()) == bool(images)


def test_c_abstractor_interpolates_its_positions_bicubically():
    """A connector trained on one grid is, on another, the connector with the resized table."""
    config = CAbstractorConfig(num_image_tokens=4, hidden_dim=12, depth=1)
    trained, resized = (build_connector(config, grid, input_dim=8, output_dim=6) for grid in (3, 6))
    for parameter in trained.parameters():
        nn.init.normal_(parameter, std=0.5)
    table = trained.positions.detach().view(1, 3, 3, 8).permute(0, 3, 1, 2)
    larger = F.interpolate(table, size=(6, 6), mode="bicubic", align_corners=False)
    state = trained.state_dict() | {"positions": larger.permute(0, 2, 3, 1).reshape(36, 8)}
    resized.load_state_dict(state)
    features = torch.randn(2, 6, 6, 8)
    torch.testing.assert_close(trained(features), resized(features), atol=1e-5, rtol=1e-5)


def test_c_abstractor_without_depth_is_a_pool_and_an_mlp():
    connector = build_connector(CAbstractorConfig(num_image_tokens=4, depth=0, mlp_depth=1), 4, 8, 8)
    assert sum(parameter.numel() for parameter in connector.parameters()) == 16 * 8 + 8 * 8 + 8


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 30), width=st.integers(1, 30), side=st.integers(1, 14), images=st.integers(0, 2))
def test_pool_equals_adaptive_average_pooling(height, width, side, images):
    grid = torch.randn(images, height, width, 3)
    expected = F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1)
    torch.testing.assert_close(pool(grid, side), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pool_sums_in_float32_under_autocast_and_in_bfloat16(dtype):
    grid = (torch.randn(2, 27, 48, 8) + 3).to(dtype)
    expected = F.adaptive_avg_pool2d(grid.double().permute(0, 3, 1, 2), 12).permute(0, 2, 3, 1).to(dtype)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            pooled = pool(grid, 12)
        assert pooled.dtype == dtype
        torch.testing.assert_close(pooled, expected, rtol=1e-6 if dtype == torch.float32 else 2**-8, atol=0)


def test_average_pool_keeps_tokens_in_raster_order():
    connector = build_connector(AvgPoolConfig(num_image_tokens=4), 4, 1, 1)
    nn.init.ones_(connector.projection.weight)
    rows = torch.arange(16.0).view(1, 4, 4, 1)
    assert connector(rows)[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]


def test_attention_pool_is_a_block_of_cross_attention_and_a_projection():
    """Against PyTorch's own attention; the queries go on as the residual stream."""
    torch.manual_seed(0)
    connector = build_connector(AttentionPoolConfig(num_image_tokens=9, num_heads=2), 4, 8, 12)
    for parameter in connector.parameters():
        nn.init.normal_(parameter)
    features = torch.randn(3, 4, 5, 8)
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    keys = connector.key_value
    reference.in_proj_weight.data = torch.cat([connector.query.weight, keys.weight]).detach()
    reference.in_proj_bias.data = torch.cat([connector.query.bias, keys.bias]).detach()
    reference.out_proj.load_state_dict(connector.output.state_dict())
    queries = connector.queries.expand(3, -1, -1)
    patches = connector.feature_norm(features.flatten(1, 2))
    attended, _ = reference(connector.query_norm(queries), patches, patches)
    mlp = nn.Sequential(connector.mlp_norm, connector.up, nn.GELU(), connector.down)
    hidden = queries + attended
    expected = connector.projection(hidden + mlp(hidden))
    torch.testing.assert_close(connector(features), expected, atol=1e-4, rtol=1e-4)


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
