"""That documents of one row cannot touch each other, to the last bit, with the kernels that CUDA chooses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mm1.models.attention import AttentionMask, Backend, attend
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.flex import usable
from mm1.train.parallelize import autocast

LENGTHS = (70, 3, 130, 60)
"""Of the documents in a row; longer than a tile of the kernels, and across their borders."""
PADDING = 25

BACKENDS = pytest.mark.parametrize("backend", ["auto", "sdpa", "explicit"])
WITH_FLEX = pytest.mark.parametrize("backend", ["auto", "sdpa", "explicit", "flex"])
WINDOWS = pytest.mark.parametrize("window", [None, 40], ids=["whole", "window"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def segments(device: torch.device) -> Tensor:
    """(1, S): the documents' numbers, then padding."""
    numbers = [torch.full((length,), number) for number, length in enumerate(LENGTHS)]
    return torch.cat([*numbers, torch.full((PADDING,), -1)])[None].to(device)


@pytest.fixture(autouse=True)
def no_fallback() -> Iterator[None]:
    """What PyTorch does once it has compiled too often would pass these tests without the kernel."""
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield


def masked(device: torch.device, window: int | None) -> AttentionMask:
    mask = AttentionMask.from_segments(segments(device))
    return mask if window is None else mask.within(window)


def skip_without_flex(device: torch.device, dtype: torch.dtype, head_dim: int = 32) -> None:
    if device.type == "cpu":
        pytest.skip("FlexAttention has no backward on the CPU")
    if not usable(device, dtype, head_dim):
        pytest.skip("FlexAttention can not be used here: standard error says why")


def random_qkv(
    device: torch.device, dtype: torch.dtype, kv_heads: int = 4, batch: int = 1, head_dim: int = 32
) -> list[Tensor]:
    torch.manual_seed(0)
    length = sum(LENGTHS) + PADDING
    shapes = [(batch, heads, length, head_dim) for heads in (4, kv_heads, kv_heads)]
    return [torch.randn(shape).to(device, dtype) for shape in shapes]


@pytest.mark.parametrize("which", range(len(LENGTHS)))
@pytest.mark.parametrize("kv_heads", [4, 2])
@WINDOWS
@WITH_FLEX
@DTYPES
def test_a_document_changes_no_bit_of_what_others_compute(
    device: torch.device, dtype: torch.dtype, backend: Backend, window: int | None, kv_heads: int, which: int
) -> None:
    if backend == "flex" and device.type == "cuda":
        skip_without_flex(device, dtype)
    mask, others = masked(device, window), segments(device)[0] != which
    before = random_qkv(device, dtype, kv_heads)
    after = [torch.where(others[:, None], tensor, 100 * torch.randn_like(tensor)) for tensor in before]
    results = [attend(q, k, v, mask, backend) for q, k, v in (before, after)]
    assert not torch.equal(*results)
    assert torch.equal(*(result[:, :, others] for result in results))


@pytest.mark.parametrize("kv_heads", [4, 2])
@WINDOWS
@WITH_FLEX
@DTYPES
def test_a_document_sends_no_gradient_to_others(
    device: torch.device, dtype: torch.dtype, backend: Backend, window: int | None, kv_heads: int
) -> None:
    """Exactly 0, which the order of a kernel's atomic sums cannot blur."""
    if backend == "flex":
        skip_without_flex(device, dtype)
    which = 2
    mask, own = masked(device, window), segments(device)[0] == which
    inputs = [tensor.requires_grad_() for tensor in random_qkv(device, dtype, kv_heads)]
    attend(*inputs, mask, backend)[:, :, own].square().sum().backward()
    for tensor in inputs:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad[:, :, own].any()
        assert not tensor.grad[:, :, ~own].any()


@pytest.mark.parametrize("head_dim", [80, 128])
@pytest.mark.parametrize("kv_heads", [4, 2])
@WINDOWS
@DTYPES
def test_flex_equals_the_oracle_there_and_back(
    cuda: torch.device, dtype: torch.dtype, window: int | None, kv_heads: int, head_dim: int
) -> None:
    skip_without_flex(cuda, dtype, head_dim)
    given = random_qkv(cuda, dtype, kv_heads, head_dim=head_dim)
    direction = torch.randn_like(given[0])

    def run(backend: Backend) -> list[Tensor]:
        inputs = [tensor.clone().requires_grad_() for tensor in given]
        result = attend(*inputs, masked(cuda, window), backend)
        return [result.detach(), *torch.autograd.grad(result, inputs, direction)]

    tolerance = 1e-4 if dtype == torch.float32 else 6e-2
    for ours, oracle in zip(run("flex"), run("explicit"), strict=True):
        torch.testing.assert_close(ours, oracle, atol=tolerance, rtol=tolerance)


def test_flex_works_where_triton_is_and_is_then_what_auto_takes(cuda: torch.device) -> None:
    pytest.importorskip("triton")
    assert usable(cuda, torch.bfloat16, 32)
    mask = AttentionMask.from_segments(segments(cuda))
    q, k, v = random_qkv(cuda, torch.bfloat16)
    assert torch.equal(attend(q, k, v, mask), attend(q, k, v, mask, "flex"))
    assert "allowed" not in vars(mask), "the whole matrix was made"


def test_the_tiles_of_long_rows_take_less_memory_than_the_matrix(cuda: torch.device) -> None:
    skip_without_flex(cuda, torch.bfloat16)
    numbers = torch.arange(4096, device=cuda).expand(4, -1) // 500
    AttentionMask.from_segments(numbers).blocks.kv_num_blocks.sum().item()  # compiles
    torch.cuda.reset_peak_memory_stats(cuda)
    before = torch.cuda.memory_allocated(cuda)
    AttentionMask.from_segments(numbers).blocks.kv_num_blocks.sum().item()
    assert torch.cuda.max_memory_allocated(cuda) - before < 4 * 4096**2 / 4  # a byte a pair, were there a matrix


@BACKENDS
@DTYPES
def test_a_batch_without_images_passes_forward_and_backward(
    device: torch.device, dtype: torch.dtype, backend: Backend
) -> None:
    """The image encoder attends over no rows at all; its weights must still get gradients, of zero."""
    inputs = [tensor.requires_grad_() for tensor in random_qkv(device, dtype, batch=0)]
    attend(*inputs, None, backend).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.shape == tensor.shape for tensor in inputs)


OPTIONS = (
    {"smeared_keys": True},
    {"num_kv_heads": 2, "sliding_window": 40, "norm_placement": "post", "qk_norm": "projection", "mlp": "swiglu"},
)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "others"])
def test_a_document_changes_no_bit_of_others_in_a_whole_decoder(
    device: torch.device, options: dict[str, Any], precision: str
) -> None:
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(vocab_size=64, dim=64, num_layers=2, mlp_dim=128, **options)).to(device)
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
