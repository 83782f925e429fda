"""That documents of one row cannot touch each other, to the last bit, with the kernels that CUDA chooses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mm1.models.attention import AttentionMask, Backend, attend
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.train.parallelize import autocast

LENGTHS = (70, 3, 130, 60)
"""Of the documents in a row; longer than a tile of the kernels, and across their borders."""
PADDING = 25

BACKENDS = pytest.mark.parametrize("backend", ["auto", "sdpa", "explicit"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def segments(device: torch.device) -> Tensor:
    """(1, S): the documents' numbers, then padding."""
    numbers = [torch.full((length,), number) for number, length in enumerate(LENGTHS)]
    return torch.cat([*numbers, torch.full((PADDING,), -1)])[None].to(device)


def random_qkv(device: torch.device, dtype: torch.dtype, kv_heads: int = 4, batch: int = 1) -> list[Tensor]:
    torch.manual_seed(0)
    length = sum(LENGTHS) + PADDING
    shapes = [(batch, heads, length, 32) for heads in (4, kv_heads, kv_heads)]
    return [torch.randn(shape).to(device, dtype) for shape in shapes]


@pytest.mark.parametrize("which", range(len(LENGTHS)))
@pytest.mark.parametrize("kv_heads", [4, 2])
@BACKENDS
@DTYPES
def test_a_document_changes_no_bit_of_what_others_compute(
    device: torch.device, dtype: torch.dtype, backend: Backend, kv_heads: int, which: int
) -> None:
    mask, others = AttentionMask.from_segments(segments(device)), segments(device)[0] != which
    before = random_qkv(device, dtype, kv_heads)
    after = [torch.where(others[:, None], tensor, 100 * torch.randn_like(tensor)) for tensor in before]
    results = [attend(q, k, v, mask, backend) for q, k, v in (before, after)]
    assert not torch.equal(*results)
    assert torch.equal(*(result[:, :, others] for result in results))


@pytest.mark.parametrize("kv_heads", [4, 2])
@BACKENDS
@DTYPES
def test_a_document_sends_no_gradient_to_others(
    device: torch.device, dtype: torch.dtype, backend: Backend, kv_heads: int
) -> None:
    """Exactly 0, which the order of a kernel's atomic sums cannot blur."""
    which = 2
    mask, own = AttentionMask.from_segments(segments(device)), segments(device)[0] == which
    inputs = [tensor.requires_grad_() for tensor in random_qkv(device, dtype, kv_heads)]
    attend(*inputs, mask, backend)[:, :, own].square().sum().backward()
    for tensor in inputs:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad[:, :, own].any()
        assert not tensor.grad[:, :, ~own].any()


@BACKENDS
@DTYPES
def test_a_batch_without_images_passes_forward_and_backward(
    device: torch.device, dtype: torch.dtype, backend: Backend
) -> None:
    """The image encoder attends over no rows at all; its weights must still get gradients, of zero."""
    inputs = [tensor.requires_grad_() for tensor in random_qkv(device, dtype, batch=0)]
    attend(*inputs, None, backend).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.shape == tensor.shape for tensor in inputs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_document_changes_no_bit_of_others_in_a_whole_decoder(device: torch.device, precision: str) -> None:
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(vocab_size=64, dim=64, num_layers=2, mlp_dim=128, smeared_keys=True)).to(device)
    numbers = segments(device)
    positions = torch.cat([torch.arange(length) for length in (*LENGTHS, PADDING)])[None].to(device)
    before = torch.randint(64, numbers.shape).to(device)
    after = torch.where(numbers == 1, (before + 1) % 64, before)
    with torch.no_grad(), autocast(precision, device):
        results = [
            decoder(decoder.embed(tokens), positions, AttentionMask.from_segments(numbers)).hidden
            for tokens in (before, after)
        ]
    assert not torch.equal(*results)
    assert torch.equal(*(result[numbers != 1] for result in results))
