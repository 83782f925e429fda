"""The decoder packed against unpacked, cached against whole, trained; against Hugging Face's in tests/hf."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mm1.models import decoder as decoder_module
from mm1.models.attention import AttentionMask, attend
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.moe import MoE

EXPERTS = {"num_experts": 4, "every": 2}
VARIANTS = {
    "plain": {},
    "smeared": {"smeared_keys": True},
    "swiglu": {"mlp": "swiglu"},
    "untied": {"tied_embeddings": False},
    "grouped_queries": {"num_kv_heads": 2, "qkv_bias": True},
    "head_norm": {"num_kv_heads": 2, "qk_norm": "head"},
    "projection_norm": {"num_kv_heads": 2, "qk_norm": "projection"},
    "post_norm": {"norm_placement": "post"},
    "window": {"sliding_window": 3},
    "llama3": {"rope_scaling": {"kind": "llama3", "factor": 4, "original_len": 16}},
    "yarn": {"rope_scaling": {"kind": "yarn", "factor": 4, "original_len": 16}},
    "linear": {"rope_scaling": {"kind": "linear", "factor": 4}},
    "experts": {"moe": EXPERTS},
    "swiglu_experts": {"moe": {**EXPERTS, "every": 1, "renormalise": False}, "mlp": "swiglu"},
    "limited_experts": {"moe": {**EXPERTS, "capacity_factor": 1.0}},
    "everything": {
        "smeared_keys": True,
        "mlp": "swiglu",
        "num_kv_heads": 2,
        "qkv_bias": True,
        "qk_norm": "projection",
        "norm_placement": "post",
        "sliding_window": 5,
        "rope_scaling": {"kind": "yarn", "factor": 4, "original_len": 16},
        "moe": {**EXPERTS, "expert_dim": 24},
        "tied_embeddings": False,
    },
}
"""Every option by itself, and those that go together."""


def small(**options):
    """A decoder whose weights are large enough that what stands before a token matters."""
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(**{"vocab_size": 50, "dim": 32, "num_layers": 2, "mlp_dim": 64, **options}))
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    return decoder


def run_whole(decoder, tokens):
    """Logits of rows that are one document each."""
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    mask = AttentionMask.from_segments(torch.zeros_like(tokens))
    return decoder.logits(decoder(decoder.embed(tokens), positions, mask).hidden)


def pack(documents, width):
    """One row holding `documents`, padded: tokens, positions, segment ids."""
    padding = width - sum(map(len, documents))
    positions = [*(torch.arange(len(document)) for document in documents), torch.zeros(padding, dtype=torch.long)]
    segments = [torch.full((len(document),), index) for index, document in enumerate(documents)]
    tokens = torch.cat([*documents, torch.zeros(padding, dtype=torch.long)])
    return tokens[None], torch.cat(positions)[None], torch.cat([*segments, torch.full((padding,), -1)])[None]


def run_packed(decoder, documents, width=64):
    tokens, positions, segments = pack(documents, width)
    return decoder.logits(decoder(decoder.embed(tokens), positions, AttentionMask.from_segments(segments)).hidden)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_packed_document_reads_as_it_does_alone(options, lengths, seed):
    """So positions restart, and neither attention nor windows nor smearing nor experts cross a document's start."""
    decoder = small(**options).eval()
    torch.manual_seed(seed)
    documents = [torch.randint(0, 50, (length,)) for length in lengths]
    packed = run_packed(decoder, documents)[0, : sum(lengths)]
    alone = torch.cat([run_whole(decoder, document[None])[0] for document in documents])
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize("backend", ["sdpa", "explicit", "flex"])
@pytest.mark.parametrize("which", [0, 1, 2])
@torch.no_grad()  # which flex asks for on the CPU
def test_a_document_cannot_change_a_bit_of_another(monkeypatch, backend, precision, which):
    """Experts apart, of which see `test_experts_share_no_more_than_a_matrix_product`."""
    monkeypatch.setattr(decoder_module, "attend", partial(attend, backend=backend))
    decoder = small(smeared_keys=True, num_kv_heads=2, sliding_window=11, norm_placement="post", qk_norm="projection")
    if precision == "bfloat16":
        decoder = decoder.bfloat16()
    documents = [torch.randint(0, 50, (length,)) for length in (13, 21, 17)]
    changed = [*documents]
    changed[which] = (documents[which] + 1) % 50
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        before, after = run_packed(decoder, documents)[0], run_packed(decoder, changed)[0]
    border = torch.tensor([0, 13, 34, 51])
    inside = torch.zeros(64, dtype=torch.bool)
    inside[border[which] : border[which + 1]] = True
    assert torch.equal(before[~inside], after[~inside])
    assert not torch.equal(before[inside], after[inside])


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_cached_decoding_equals_the_whole_forward(options, side):
    """Prompts of unequal length, padded on either side, filled in two calls, then one token at a time."""
    decoder = small(**options).eval()
    tokens = torch.randint(0, 50, (3, 24))
    lengths, width = (10, 4, 7), 10
    cache = decoder.allocate_cache(batch_size=3, capacity=24)
    offsets = torch.tensor([width - length if side == "left" else 0 for length in lengths])
    slots = torch.arange(width) - offsets[:, None]
    slots[slots >= torch.tensor(lengths)[:, None]] = -1
    slots = slots.clamp(min=-1)
    seen = torch.full((3, 24, 50), float("nan"))

    @torch.no_grad()
    def step(slots):
        mask = AttentionMask.for_cache(slots, length=int(slots.max()) + 1)
        chosen = tokens.gather(1, slots.clamp(min=0))
        logits = decoder.logits(decoder(decoder.embed(chosen), slots.clamp(min=0), mask, cache).hidden)
        for row, column in (slots >= 0).nonzero().tolist():
            seen[row, slots[row, column]] = logits[row, column]

    step(slots[:, :6])
    step(slots[:, 6:])
    for count in range(14):
        step(torch.tensor([[length + count] for length in lengths]))
    whole = run_whole(decoder, tokens)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(seen[row, : length + 14], whole[row, : length + 14], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_three_steps_reach_every_parameter_with_finite_gradients(options):
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(**{"vocab_size": 50, "dim": 32, "num_layers": 2, "mlp_dim": 64, **options}))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-3)
    before = {name: parameter.detach().clone() for name, parameter in decoder.named_parameters()}
    tokens, positions, segments = pack([torch.randint(0, 50, (length,)) for length in (40, 50, 30)], 128)
    losses = []
    for _ in range(3):
        hidden, routing = decoder(decoder.embed(tokens), positions, AttentionMask.from_segments(segments))
        next_ones = torch.where(segments[0, 1:] == segments[0, :-1], tokens[0, 1:], -100)
        loss = torch.nn.functional.cross_entropy(decoder.logits(hidden)[0, :-1], next_ones)
        losses.append(loss.item())
        for routed in routing:
            loss = loss + 0.01 * routed.load_balance + 0.001 * routed.router_z
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in decoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(not torch.equal(before[name], parameter) for name, parameter in decoder.named_parameters())
    assert len(routing) == sum(isinstance(block.mlp, MoE) for block in decoder.blocks)


def test_sparse_layers_stand_where_the_config_says_and_tell_how_they_routed():
    decoder = small(num_layers=5, moe={"num_experts": 4, "every": 2})
    assert [isinstance(block.mlp, MoE) for block in decoder.blocks] == [False, True, False, True, False]
    tokens = torch.randint(0, 50, (2, 9))
    mask = AttentionMask.from_segments(torch.zeros_like(tokens))
    routing = decoder(decoder.embed(tokens), torch.arange(9).expand(2, 9), mask).routing
    assert [routed.load.shape for routed in routing] == [(4,), (4,)]
    assert small(num_layers=2)(decoder.embed(tokens), torch.arange(9).expand(2, 9), mask).routing == ()


@pytest.mark.parametrize("backend", ["grouped", "loop"])
def test_padding_is_not_routed(backend):
    """What stands there counts in no statistic, sends no gradient to the router or the experts, and takes no slot."""
    moe = {"num_experts": 4, "every": 1, "capacity_factor": 1.0, "backend": backend}
    decoder = small(num_layers=1, moe=moe)
    tokens, positions, segments = pack([torch.randint(0, 50, (20,))], 40)

    def run(padding):
        decoder.zero_grad()
        embeddings = decoder.embed(tokens).detach().clone()
        embeddings[:, 20:] = padding
        hidden, (routed,) = decoder(embeddings, positions, AttentionMask.from_segments(segments))
        (hidden[:, :20].square().sum() + routed.load_balance + routed.router_z).backward()
        mlp = decoder.blocks[0].mlp
        return [hidden[:, :20], *routed, mlp.router.weight.grad, mlp.up.weight.grad, mlp.down.weight.grad]

    for before, after in zip(run(0.0), run(100 * torch.randn(20, 32)), strict=True):
        assert torch.equal(before, after)


def test_experts_share_no_more_than_a_matrix_product():
    """No document reaches another through dropless experts, but how many rows an expert gets may change rounding."""
    decoder = small(num_layers=4, moe=EXPERTS)
    documents = [torch.randint(0, 50, (length,)) for length in (13, 21, 17)]
    before = run_packed(decoder, documents)[0, 13:51]
    after = run_packed(decoder, [(documents[0] + 1) % 50, *documents[1:]])[0, 13:51]
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_experts_of_limited_capacity_drop_in_training_and_never_in_evaluation():
    """So that nobody's answer depends on who stands beside them."""
    limited = small(num_layers=1, moe={"num_experts": 4, "every": 1, "capacity_factor": 0.5})
    free = small(num_layers=1, moe={"num_experts": 4, "every": 1})
    tokens = torch.randint(0, 50, (1, 40))
    assert torch.equal(run_whole(limited.eval(), tokens), run_whole(free, tokens))
    assert not torch.allclose(run_whole(limited.train(), tokens), run_whole(free, tokens), atol=1e-2)


def test_a_layer_sees_as_far_back_as_its_window():
    decoder = small(num_layers=1, sliding_window=3)
    tokens = torch.randint(0, 50, (1, 12))
    changed = tokens.clone()
    changed[0, 4] = (tokens[0, 4] + 1) % 50
    same = [
        torch.equal(*pair) for pair in zip(run_whole(decoder, tokens)[0], run_whole(decoder, changed)[0], strict=True)
    ]
    assert [column for column, equal in enumerate(same) if not equal] == [4, 5, 6]


def test_smearing_reaches_one_token_back_and_changes_the_keys_only():
    plain, smeared = small(num_layers=1), small(num_layers=1, smeared_keys=True)
    smeared.load_state_dict({**plain.state_dict(), "blocks.0.attention.smear": torch.full((4,), -30.0)})
    tokens = torch.randint(0, 50, (1, 12))
    torch.testing.assert_close(run_whole(smeared, tokens), run_whole(plain, tokens))
    smeared.blocks[0].attention.smear.data.fill_(0.0)
    assert not torch.allclose(run_whole(smeared, tokens)[:, 1:], run_whole(plain, tokens)[:, 1:], atol=1e-2)
    torch.testing.assert_close(run_whole(smeared, tokens)[:, 0], run_whole(plain, tokens)[:, 0])


def test_training_is_reproducible_to_the_bit():
    def gradients():
        decoder = small(smeared_keys=True)
        with torch.autocast("cpu", torch.bfloat16):
            run_packed(decoder, [torch.arange(20), torch.arange(30)]).float().logsumexp(-1).sum().backward()
        return [parameter.grad for parameter in decoder.parameters()]

    torch.use_deterministic_algorithms(True)
    try:
        assert all(torch.equal(first, second) for first, second in zip(gradients(), gradients(), strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


def test_initial_weights_follow_the_seed_and_shrink_residual_outputs():
    config = DecoderConfig(vocab_size=512, dim=128, num_layers=8)
    torch.manual_seed(1)
    first = Decoder(config)
    torch.manual_seed(1)
    second = Decoder(config)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert first.blocks[0].attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert first.blocks[0].mlp.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert first.blocks[0].attention.output.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dim": 30, "num_heads": 4}, "dim 30 is not a multiple of num_heads 4"),
        ({"num_heads": 4, "num_kv_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3"),
        ({"head_dim": 7}, "head dim 7 is odd"),
        ({"num_layers": 3, "moe": {"num_experts": 2, "every": 4}}, "moe.every 4 makes none of the 3 layers sparse"),
    ],
)
def test_impossible_shapes_are_refused_with_both_numbers(options, words):
    with pytest.raises(ValidationError, match=words):
        DecoderConfig(vocab_size=8, **options)
