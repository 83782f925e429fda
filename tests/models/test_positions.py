"""Tables of positions against PyTorch's bicubic kernel and Hugging Face's ViTMAE."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEEmbeddings

from mm1.models.positions import resize_table, sincos_table

sides = st.integers(1, 30)


def kernel(table, height, width):
    resized = F.interpolate(table.permute(2, 0, 1)[None], size=(height, width), mode="bicubic", align_corners=False)
    return resized[0].permute(1, 2, 0)


@settings(max_examples=40, deadline=None)
@given(old=st.tuples(sides, sides), new=st.tuples(sides, sides))
def test_resizing_is_pytorchs_bicubic_interpolation_forward_and_backward(old, new):
    table = torch.randn(*old, 3, requires_grad=True)
    weight = torch.randn(*new, 3)
    ours, theirs = resize_table(table, *new), kernel(table, *new)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    gradients = [torch.autograd.grad((resized * weight).sum(), table)[0] for resized in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=0)


def test_the_same_grid_gives_the_same_tensor():
    table = torch.randn(4, 6, 3)
    assert resize_table(table, 4, 6) is table


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_arithmetic_is_float32_whatever_surrounds_it(dtype):
    """2 ulp of bfloat16 would be 0.016: what autocast would make of it."""
    table = torch.randn(16, 16, 8).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        resized = resize_table(table, 24, 33)
    assert resized.dtype == dtype
    expected = kernel(table.float(), 24, 33)
    torch.testing.assert_close(resized, expected.to(dtype), atol=1e-5, rtol=2**-7 if dtype == torch.bfloat16 else 0)


@pytest.mark.parametrize(("side", "dim"), [(1, 4), (7, 16), (16, 192)])
def test_sines_and_cosines_are_those_of_mae(side, dim):
    config = transformers.ViTMAEConfig(
        hidden_size=dim, image_size=2 * side, patch_size=2, num_hidden_layers=1, num_attention_heads=1
    )
    peer = ViTMAEEmbeddings(config)
    peer.initialize_weights()
    table = peer.position_embeddings[0, 1:].detach().view(side, side, dim)
    assert table.any()
    torch.testing.assert_close(sincos_table(side, side, dim, torch.device("cpu")), table, atol=1e-6, rtol=0)


def test_columns_come_before_rows_in_an_oblong_table():
    table = sincos_table(3, 5, 8, torch.device("cpu"))
    assert table.shape == (3, 5, 8)
    assert torch.equal(table[0, :, :4], table[2, :, :4])
    assert torch.equal(table[:, 0, 4:], table[:, 4, 4:])
    torch.testing.assert_close(table[2, 4, 0], torch.tensor(4.0).sin())
    torch.testing.assert_close(table[2, 4, 4], torch.tensor(2.0).sin())
