"""Parameters and operations against hand-made sums and torch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mm1.models import by_document
from mm1.models.attention import AttentionMask
from mm1.models.clip import CLIP, CLIPConfig
from mm1.models.connector import AttentionPoolConfig, AvgPoolConfig, CAbstractorConfig
from mm1.models.counts import flops_forward, parameters_by_part
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.moe import MoEConfig

VIT_H = ImageEncoderConfig(
    image_size=378,
    patch_size=14,
    dim=1280,
    num_layers=32,
    num_heads=16,
    mlp_dim=5120,
    class_token=True,
    pre_norm=True,
)


NO_PARTS = ("total", "decoder_active_non_embedding")


def paper_config(**options):
    shape = {"vocab_size": 32_000, "dim": 1024, "num_layers": 24, "num_heads": 16, "mlp_dim": 4096, **options}
    return MM1Config(decoder=DecoderConfig(**shape), image_encoder=VIT_H, connector=CAbstractorConfig())


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_of_the_papers_302m_decoder_with_vit_h(tied):
    with torch.device("meta"):
        model = MM1(paper_config(tied_embeddings=tied))
    parts = parameters_by_part(model)
    norms = (2 * 24 + 1) * 1024
    assert parts["decoder_non_embedding"] == 12 * 24 * 1024**2 + norms
    assert parts["decoder_embedding"] == 32_000 * 1024 * (1 if tied else 2)
    assert round(parts["image_encoder"] / 1e6) == 631
    assert parts["total"] == sum(parameter.numel() for parameter in model.parameters())
    assert parts["decoder_active_non_embedding"] == parts["decoder_non_embedding"]
    assert parts["total"] == sum(size for part, size in parts.items() if part not in NO_PARTS)


@pytest.mark.parametrize(("mlp", "matrices"), [("swiglu", 3), ("gelu", 2)])
def test_a_token_passes_through_its_chosen_experts_only(mlp, matrices):
    """12 of 24 layers, 16 experts of width 2048, of which 3 are chosen."""
    moe = MoEConfig(num_experts=16, top_k=3, expert_dim=2048)
    with torch.device("meta"):
        sparse, dense = (MM1(paper_config(mlp=mlp, moe=choice)) for choice in (moe, None))
    parts, without = parameters_by_part(sparse), parameters_by_part(dense)
    expert, router, replaced = matrices * 1024 * 2048, 16 * 1024, matrices * 1024 * 4096
    assert parts["decoder_non_embedding"] - without["decoder_non_embedding"] == 12 * (16 * expert + router - replaced)
    active = parts["decoder_active_non_embedding"] - without["decoder_active_non_embedding"]
    assert active == 12 * (3 * expert + router - replaced)
    assert parts["total"] == sum(parameter.numel() for parameter in sparse.parameters())
    assert parts["total"] == sum(size for part, size in parts.items() if part not in NO_PARTS)


def test_parts_of_a_text_model_and_of_clip():
    decoder = DecoderConfig(vocab_size=64)
    assert parameters_by_part(MM1(MM1Config(decoder=decoder)))["image_encoder"] == 0
    clip = CLIP(CLIPConfig(image_encoder=ImageEncoderConfig(), text_tower=decoder))
    parts = parameters_by_part(clip)
    assert parts["text_tower_embedding"] == 64 * 128
    assert parts["total"] == sum(parameter.numel() for parameter in clip.parameters())


def test_image_encoder_operations_equal_the_textbook_sum():
    tokens, dim, mlp_dim = 730, 1280, 5120
    block = 2 * tokens * (4 * dim**2 + 2 * dim * mlp_dim) + 4 * tokens**2 * dim
    stem = 2 * 729 * 3 * 14**2 * dim
    flops = flops_forward(paper_config(), tokens=0, images=3, attended_pairs=0)
    assert flops["image_encoder"] == 3 * (32 * block + stem)
    assert flops["decoder"] == flops["output"] == 0


def test_blocks_that_are_not_used_are_not_charged():
    def encoder_flops(**layers):
        config = paper_config()
        config = config.replace(image_encoder=config.image_encoder.replace(**layers))
        return flops_forward(config, tokens=0, images=1, attended_pairs=0)["image_encoder"]

    assert encoder_flops(num_layers=24, num_layers_used=20) == encoder_flops(num_layers=20)


SPARSE = {"num_experts": 5, "backend": "loop"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_kv_heads": 2, "mlp": "swiglu"},
        {"head_dim": 64, "qkv_bias": True},
        {"moe": MoEConfig(**SPARSE)},
        {"mlp": "swiglu", "moe": MoEConfig(**SPARSE, top_k=3, every=3, expert_dim=48)},
    ],
    ids=["mha", "gqa_swiglu", "head_dim_bias", "sparse_gelu", "sparse_swiglu"],
)
def test_decoder_operations_equal_torchs_counter(options):
    """The counter sees dense attention, so it is asked about one document attending to everything.

    It does not know the grouped product of experts, nor the CPU's attention: hence the loop, and the plain attention.
    """
    config = MM1Config(decoder=DecoderConfig(vocab_size=100, **options))
    decoder = Decoder(config.decoder)
    tokens = torch.zeros(1, 32, dtype=torch.long)
    mask = AttentionMask.from_segments(tokens)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        hidden = decoder(decoder.embed(tokens), tokens, mask).hidden
        before = counter.get_total_flops()
        decoder.logits(hidden)
    flops = flops_forward(config, tokens=32, images=0, attended_pairs=32**2)
    assert flops["decoder"] == before
    assert flops["output"] == counter.get_total_flops() - before


def test_operations_of_a_whole_model_by_part_equal_torchs_counter(make_batch, monkeypatch):
    """A packed batch with images, through encoder, connector and a sparse decoder, without padding."""
    monkeypatch.setattr(by_document, "GRAIN", 1)
    encoder = ImageEncoderConfig(image_size=16, patch_size=4, dim=32, num_layers=2, num_heads=2, mlp_dim=64)
    decoder = DecoderConfig(vocab_size=64, moe=MoEConfig(**SPARSE))
    for connector in (AvgPoolConfig(num_image_tokens=4), CAbstractorConfig(num_image_tokens=4, hidden_dim=32)):
        config = MM1Config(decoder=decoder, image_encoder=encoder, connector=connector)
        model, batch = MM1(config), make_batch([[(1, 6), (2, 4)], [(1, 18)]])
        assert (batch.segment_ids >= 0).all()
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            model.logits(model(batch).hidden)
        by_module = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
        flops = flops_forward(config, tokens=44, images=4, attended_pairs=10**2 + 12**2 + 22**2)
        assert flops["image_encoder"] == by_module["MM1.image_encoder"]
        assert flops["connector"] == by_module["MM1.connector"]
        assert flops["decoder"] == by_module["MM1.decoder"]
        assert flops["total"] == counter.get_total_flops()


@pytest.mark.parametrize(
    ("connector", "expected"),
    [
        # two products with the pooling matrix, one projection
        (AvgPoolConfig(), 2 * 1280 * (12 * 27 * 27 + 12 * 27 * 12) + 2 * 144 * 1280 * 1024),
        # keys and values, scores and sums, output, MLP, projection; the queries' own projection is made once a batch
        (
            AttentionPoolConfig(),
            2 * 729 * 1280 * 2560 + 4 * 144 * 729 * 1280 + 2 * 144 * (1280**2 + 2 * 1280 * 5120 + 1280 * 1024),
        ),
    ],
    ids=["avg_pool", "attention_pool"],
)
def test_connector_operations_equal_hand_made_sums_and_grow_with_images(connector, expected):
    config = paper_config().replace(connector=connector)
    one, five = (flops_forward(config, 0, images, 0)["connector"] for images in (1, 5))
    assert one == expected
    assert five == 5 * one


def test_only_targets_are_charged_for_logits():
    config = paper_config()
    all_tokens, half = (flops_forward(config, 100, 2, 5050, targets=targets) for targets in (None, 50))
    assert all_tokens["output"] == 2 * half["output"] == 2 * 100 * 1024 * 32_000
    assert all_tokens["decoder"] == half["decoder"]
    assert half["total"] == sum(count for part, count in half.items() if part != "total")
