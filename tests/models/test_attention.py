"""Masks, the cache, and that the back ends agree and leak nothing."""

from functools import cached_property

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.masking_utils import sliding_window_causal_mask_function

from mm1.models import attention as attention_module
from mm1.models import flex
from mm1.models.attention import AttentionMask, LayerCache, attend

BACKENDS = ("sdpa", "explicit", "documents")
FORWARD = (*BACKENDS, "flex")
"""On the CPU FlexAttention has no backward; tests/gpu has the rest."""
DTYPES = (torch.float32, torch.bfloat16)


def naive(q, k, v, allowed):
    """One query at a time, in float64, over the keys it may see and no others."""
    q, k, v = q.double(), k.double(), v.double()
    result = torch.zeros_like(q)
    for b, h, s in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])).tolist():
        seen = allowed[b, 0, s].nonzero()[:, 0]
        group = h // (q.shape[1] // k.shape[1])
        weights = (k[b, group, seen] @ q[b, h, s] / q.shape[-1] ** 0.5).softmax(0)
        result[b, h, s] = weights @ v[b, group, seen]
    return result


def random_qkv(length, heads=4, kv_heads=4, dtype=torch.float32, batch=1):
    q = torch.randn(batch, heads, length, 8, dtype=dtype)
    k, v = torch.randn(2, batch, kv_heads, length, 8, dtype=dtype)
    return q, k, v


def test_mask_of_two_documents_and_padding():
    mask = AttentionMask.from_segments(torch.tensor([[0, 0, 1, 1, 1, -1, -1]]))
    expected = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]
    assert mask.allowed[0, 0].int().tolist() == expected


def test_mask_for_cache_shows_the_slots_up_to_ones_own():
    mask = AttentionMask.for_cache(torch.tensor([[2, 3, -1]]), length=5)
    assert mask.allowed[0, 0].int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]]


def test_a_window_has_the_last_positions_and_ones_own_of_the_same_document():
    mask = AttentionMask.from_segments(torch.tensor([[0, 0, 0, 0, 1, 1, 1, -1, -1]])).within(2)
    expected = [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 1],
    ]
    assert mask.allowed[0, 0].int().tolist() == expected


@given(length=st.integers(1, 30), window=st.integers(1, 40))
def test_a_window_is_that_of_transformers_with_a_cache_and_without(length, window):
    theirs = sliding_window_causal_mask_function(window)
    places = torch.arange(length)
    expected = theirs(0, 0, places[:, None], places)
    whole = AttentionMask.from_segments(torch.zeros(1, length, dtype=torch.long)).within(window)
    cached = AttentionMask.for_cache(places[None], length).within(window)
    assert torch.equal(whole.allowed[0, 0], expected)
    assert torch.equal(cached.allowed[0, 0], expected)


def test_a_window_never_leaves_padding_nothing_to_see():
    for mask in (
        AttentionMask.from_segments(torch.tensor([[0, 0, 0, -1, -1]])),
        AttentionMask.for_cache(torch.tensor([[7, -1, 8]]), length=9),
    ):
        assert mask.within(1).allowed.any(-1).all()


def test_padding_is_known_with_a_cache_and_without():
    assert AttentionMask.from_segments(torch.tensor([[0, 3, -1]])).real.tolist() == [[True, True, False]]
    assert AttentionMask.for_cache(torch.tensor([[-1, 4, 5]]), 6).within(2).real.tolist() == [[False, True, True]]


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("backend", FORWARD)
@pytest.mark.parametrize("dtype", DTYPES)
def test_backends_equal_a_loop_over_queries(backend, dtype, kv_heads, window):
    torch.manual_seed(0)
    q, k, v = random_qkv(9, kv_heads=kv_heads, dtype=dtype, batch=2)
    mask = AttentionMask.from_segments(torch.tensor([[0, 0, 0, 1, 1, 1, 2, -1, -1], [0] * 9]))
    mask = mask if window is None else mask.within(window)
    result = attend(q, k, v, mask, backend)
    assert result.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(result.double(), naive(q, k, v, mask.allowed), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=5), which=st.integers(0, 4), seed=st.integers(0, 99))
def test_a_document_cannot_change_a_bit_of_another_there_and_back(backend, dtype, lengths, which, seed):
    """Forward and backward: other documents' outputs and gradients stay as they were to the last bit."""
    torch.manual_seed(seed)
    which %= len(lengths)
    segments = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    mask, changed = AttentionMask.from_segments(segments), segments[0] == which

    def run(tensors):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        result = attend(*inputs, mask, backend)
        result.square().sum().backward()
        return [tensor[:, :, ~changed] for tensor in (result, *(tensor.grad for tensor in inputs))]

    tensors = random_qkv(segments.shape[1], dtype=dtype)
    perturbed = [torch.where(changed[:, None], 100 * torch.randn_like(tensor), tensor) for tensor in tensors]
    for before, after in zip(run(tensors), run(perturbed), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("window", [None, 30])
@pytest.mark.parametrize("which", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_flex_equals_the_oracle_over_many_tiles_and_leaks_nothing(dtype, which, window):
    torch.manual_seed(0)
    segments = torch.repeat_interleave(torch.tensor([0, 1, 2, 3, -1]), torch.tensor([70, 3, 130, 60, 25]))[None]
    mask, others = AttentionMask.from_segments(segments), segments[0] != which
    mask = mask if window is None else mask.within(window)
    before = random_qkv(segments.shape[1], kv_heads=2, dtype=dtype)
    after = [torch.where(others[:, None], tensor, 100 * torch.randn_like(tensor)) for tensor in before]
    results = [attend(q, k, v, mask, "flex") for q, k, v in (before, after)]
    assert not torch.equal(*results)
    assert torch.equal(*(result[:, :, others] for result in results))
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(results[0], attend(*before, mask, "sdpa"), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("backend", "wanted"), [("flex", "blocks"), ("sdpa", "allowed"), ("explicit", "allowed"), ("documents", "groups")]
)
def test_a_back_end_makes_what_it_needs_once_and_nothing_else(monkeypatch, backend, wanted):
    made = []
    for name in ("allowed", "blocks", "groups"):
        make = vars(AttentionMask)[name].func
        counted = cached_property(lambda mask, name=name, make=make: made.append(name) or make(mask))
        counted.__set_name__(AttentionMask, name)
        monkeypatch.setattr(AttentionMask, name, counted)
    mask = AttentionMask.from_segments(torch.zeros(1, 5, dtype=torch.long))
    for _ in range(3):
        attend(*random_qkv(5), mask, backend)
    assert made == [wanted]


def test_a_machine_without_flex_says_so_in_one_line_and_goes_on(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no compiler here\nand a long trace")

    monkeypatch.setattr(flex, "block_mask", fail)
    probe = flex.usable.__wrapped__
    assert not probe(torch.device("cuda"), torch.float32, 16)
    told = capsys.readouterr().err
    assert told.startswith("FlexAttention can not be used on cuda, ")
    assert told.count("\n") == 1
    assert not probe(torch.device("cpu"), torch.float32, 16)
    assert not capsys.readouterr().err


def test_flex_is_never_chosen_for_a_cache_or_without_a_mask(monkeypatch):
    """Shapes stand on "meta", which like CUDA is not the CPU."""
    monkeypatch.setattr(attention_module, "usable", lambda *_: True)
    q = torch.empty(1, 4, 5, 16, device="meta")
    packed = AttentionMask.from_segments(torch.zeros(1, 5, dtype=torch.long, device="meta"))
    cached = AttentionMask.for_cache(torch.zeros(1, 5, dtype=torch.long, device="meta"), 5)
    masks = (packed, packed.within(3), cached, None)
    chosen = [attention_module._fastest(mask, q.device, q.dtype, 16) for mask in masks]
    assert chosen == ["flex", "flex", "sdpa", "sdpa"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_nothing_but_padding_stay_finite(backend):
    q, k, v = (tensor.requires_grad_() for tensor in random_qkv(5))
    result = attend(q, k, v, AttentionMask.from_segments(torch.full((1, 5), -1)), backend)
    result.sum().backward()
    assert result.isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in (q, k, v))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_empty_batch_passes_forward_and_backward(backend, dtype, masked):
    if backend == "documents" and not masked:
        return
    q, k, v = (tensor.requires_grad_() for tensor in random_qkv(5, batch=0, dtype=dtype))
    mask = AttentionMask.from_segments(torch.zeros(0, 5, dtype=torch.long)) if masked else None
    attend(q, k, v, mask, backend).sum().backward()
    assert all(tensor.grad.shape == tensor.shape for tensor in (q, k, v))


def test_auto_goes_by_document_on_the_cpu_where_rows_are_packed_and_no_matrix_is_made_yet():
    def chosen(mask):
        return attention_module._fastest(mask, torch.device("cpu"), torch.bfloat16, 16)

    segments = torch.zeros(1, 5, dtype=torch.long)
    packed, made = AttentionMask.from_segments(segments), AttentionMask.from_segments(segments)
    _ = made.allowed
    rule = AttentionMask(lambda row, query, key: key <= query, 5, segments >= 0)
    masks = (packed, packed.within(3), made, rule, AttentionMask.for_cache(segments, 5), None)
    assert [chosen(mask) for mask in masks] == ["documents", "documents"] + 4 * ["explicit"]


def test_auto_is_explicit_in_bfloat16_and_sdpa_in_float32_on_the_cpu():
    torch.manual_seed(0)
    for dtype, backend, other in ((torch.bfloat16, "explicit", "sdpa"), (torch.float32, "sdpa", "explicit")):
        q, k, v = random_qkv(64, dtype=dtype)
        assert torch.equal(attend(q, k, v), attend(q, k, v, backend=backend))
        assert not torch.equal(attend(q, k, v), attend(q, k, v, backend=other))


@pytest.mark.parametrize("slots", [[[0, 1, 2, -1]], [[-1, 0, 1, 2]], [[0, -1, 1, 2]]])
def test_cache_keeps_keys_in_their_slots_whichever_side_is_padded(slots):
    cache = LayerCache.allocate(1, 2, capacity=6, head_dim=4)
    keys, values = torch.randn(2, 1, 2, 4, 4)
    slots = torch.tensor(slots)
    cache.write(keys, values, slots)
    real = slots[0] >= 0
    assert torch.equal(cache.keys[:, :, :3], keys[:, :, real])
    assert torch.equal(cache.values[:, :, :3], values[:, :, real])
    assert cache.capacity == 6
    assert not cache.keys[:, :, 3:6].any()


def in_slots(slots: torch.Tensor) -> AttentionMask:
    return AttentionMask.for_cache(slots, length=6)


@pytest.mark.parametrize("slots", [[[0, 1, 2, -1]], [[-1, 0, 1, 2]]])
def test_previous_keys_go_on_across_calls(slots):
    cache = LayerCache.allocate(1, 2, capacity=6, head_dim=4)
    slots = torch.tensor(slots)
    keys = torch.randn(1, 4, 2, 4)
    real = keys[:, slots[0] >= 0]
    assert torch.equal(cache.previous_keys(keys, in_slots(slots))[:, slots[0] >= 0][:, 1:], real[:, :-1])
    idle = cache.previous_keys(torch.randn(1, 1, 2, 4), in_slots(torch.tensor([[-1]])))
    assert torch.equal(idle, real[:, -1:])
    more = torch.randn(1, 3, 2, 4)
    following = cache.previous_keys(more, in_slots(torch.tensor([[-1, 3, 4]])))
    assert torch.equal(following[:, 1:], torch.cat([real[:, -1:], more[:, 1:2]], dim=1))
    assert torch.equal(cache.last_key, more[:, 2])


def test_selected_rows_are_copies():
    cache = LayerCache.allocate(2, 1, capacity=3, head_dim=2)
    cache.keys[1] = 1
    chosen = cache.select(torch.tensor([1, 1, 0]))
    assert chosen.keys[:, 0, 0, 0].tolist() == [1, 1, 0]
    chosen.keys.zero_()
    assert cache.keys[1].all()


def test_wrong_shapes_are_caught_while_testing():
    q, k, v = random_qkv(5)
    with pytest.raises(jaxtyping.TypeCheckError):
        attend(q, k, v[..., :7])


def test_a_view_of_some_rows_writes_through_to_the_cache():
    cache = LayerCache.allocate(3, 1, capacity=3, head_dim=2)
    view = LayerCache(cache.keys[1:], cache.values[1:], cache.last_key[1:])
    keys = torch.ones(2, 1, 1, 2)
    view.previous_keys(keys, in_slots(torch.tensor([[0], [-1]])))
    view.write(keys, keys, torch.tensor([[0], [-1]]))
    assert cache.last_key[:, 0, 0].tolist() == [0, 1, 0]
    assert cache.keys[:, 0, 0, 0].tolist() == [0, 1, 0]
