"""Groups hold each document once and see what the rule says; attention within them is dense attention."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.models.attention import AttentionMask, attend
from mm1.models.by_document import GRAIN, attend_by_document, group_documents

PACKED = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=3)
"""Lengths of the documents of each row."""
WINDOWS = st.sampled_from([None, 1, 7])


def packed(rows, padding=3):
    """Segment ids, the shorter rows and the end of the longest one padded."""
    length = max(map(sum, rows)) + padding
    ids = torch.full((len(rows), length), -1)
    for row, lengths in enumerate(rows):
        ids[row, : sum(lengths)] = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return ids


def mask_of(segment_ids, window=None):
    mask = AttentionMask.from_segments(segment_ids)
    return mask if window is None else mask.within(window)


def random_qkv(segment_ids, kv_heads=2, dtype=torch.float64):
    batch, length = segment_ids.shape
    shapes = ((batch, heads, length, 4) for heads in (2 * kv_heads, kv_heads, kv_heads))
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def there_and_back(tensors, mask, backend, weights):
    """The result and the gradients of queries, keys and values."""
    inputs = [tensor.clone().requires_grad_() for tensor in tensors]
    result = attend(*inputs, mask, backend)
    (result * weights).sum().backward()
    return [result.detach(), *(tensor.grad for tensor in inputs)]


def seen_through(groups, shape):
    """How often each position (row, column) sees each column of its row, as the groups say."""
    rows, length = shape
    times, slot = torch.zeros(rows, length, length, dtype=torch.long), 0
    real = torch.zeros(len(groups.positions), dtype=torch.bool)
    real[groups.slots] = True
    for allowed in groups.allowed:
        for document in allowed[:, 0]:
            here = slice(slot, slot + len(document))
            position, slot = groups.positions[here], slot + len(document)
            assert document.any(1).all(), "a softmax over nothing"
            assert (position // length == position[0] // length).all()
            query, key = (document & real[here, None]).nonzero().T
            row = position[query] // length
            times.index_put_((row, position[query] % length, position[key] % length), torch.tensor(1), accumulate=True)
    assert slot == len(groups.positions)
    return times


@given(rows=PACKED, window=WINDOWS)
def test_groups_see_each_allowed_pair_once_and_no_other(rows, window):
    ids = packed(rows)
    mask = mask_of(ids, window)
    groups = group_documents(ids, mask.sees)
    assert torch.equal(groups.positions[groups.slots], torch.arange(ids.numel()))
    assert torch.equal(seen_through(groups, ids.shape), mask.allowed[:, 0].long())


@given(data=st.data())
def test_documents_may_stand_in_any_order_and_in_pieces(data):
    ids = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(-1, 3), min_size=9, max_size=9), min_size=1, max_size=3))
    )
    mask = mask_of(ids)
    assert torch.equal(seen_through(mask.groups, ids.shape), mask.allowed[:, 0].long())


def test_documents_of_about_one_length_make_a_group():
    ids = packed([[3, GRAIN, 2 * GRAIN], [GRAIN + 1, 5]], padding=0)
    padding = ids.shape[1] - GRAIN - 6
    sizes = [tuple(allowed.shape) for allowed in mask_of(ids).groups.allowed]
    assert padding > GRAIN
    assert sizes == [(3, 1, GRAIN, GRAIN), (3, 1, 2 * GRAIN, 2 * GRAIN)]


@pytest.mark.parametrize("kv_heads", [1, 2])
@settings(max_examples=40, deadline=None)
@given(rows=PACKED, window=WINDOWS, seed=st.integers(0, 99))
def test_it_is_dense_attention_there_and_back(kv_heads, rows, window, seed):
    torch.manual_seed(seed)
    ids = packed(rows)
    tensors = random_qkv(ids, kv_heads)
    weights = torch.randn_like(tensors[0])
    weights[(ids < 0)[:, None].expand(weights.shape[:3])] = 0  # nothing comes of padding
    results = [there_and_back(tensors, mask_of(ids, window), backend, weights) for backend in ("documents", "sdpa")]
    for ours, dense in zip(*results, strict=True):
        torch.testing.assert_close(ours, dense, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_not_even_a_nan_gets_out_of_a_document(which, dtype):
    torch.manual_seed(0)
    ids = packed([[20, 3, 17, 30]])
    inside = ids[0] == which
    tensors = random_qkv(ids, dtype=dtype)
    for tensor in tensors:
        tensor[:, :, inside] = torch.nan
    for tensor in there_and_back(tensors, mask_of(ids), "documents", torch.ones_like(tensors[0])):
        assert tensor[:, :, ~inside].isfinite().all()
        assert not tensor[:, :, inside].isfinite().any()


def test_pairs_of_different_documents_are_not_even_computed():
    computed = []

    def count(q, k, v, allowed):
        computed.append(allowed.numel())
        return q

    ids = packed([[16] * 16], padding=0)
    attend_by_document(*random_qkv(ids), mask_of(ids).groups, count)
    assert sum(computed) == 256**2 // 16
