"""The models of MM1's paper: image encoders, connector, decoders.

The paper gives the image encoders (CLIP and AIM are published), the connector (C-Abstractor, 144 tokens), the decoders'
sizes without embeddings (9M, 85M, 302M, 1.2B, 2.9B, 6.4B, 30B), and of the MoE models the number of experts, which
layers have them, top-2 gating, and the totals (64B and 47B). It gives no other shape, and no vocabulary. Ours are:

    size   layers  dim   heads    MLP     non-embedding
    9M       12     256   4         640    9.05M   ┐
    85M      12     768  12        2048   84.95M   │ an MLP of about 8/3 of the dim,
    302M     24    1024  16        2752   303.6M   │ two thirds of the parameters, as
    1.2B     24    2048  16        5440   1.205B   │ with 64 experts makes 64B of 3B
    2.9B     36    2560  20        6912   2.855B   ┘
    6.4B     32    4096  32 / 8   13056   6.476B   wider MLP, fewer key-value heads: 47B with 32 experts
    30B      48    7168  56 / 8   23552   29.95B

- RMSNorm, SwiGLU and rotary positions, as AXLearn's public decoders; input and output matrix are one up to 2.9B.
- 32 experts in every 4th layer turn 6.4B into 47B only if MLPs hold four fifths of the parameters; with two thirds it
  would be 40B. Hence grouped queries and an MLP of 3.2 times the dim.
- A vocabulary of 64,000. A tokenizer may have fewer ids; one with more needs `vocab_size` raised.
- Of CLIP the last block's output, before the norm of the pooled class token, as LLaVA and Hugging Face's
  `last_hidden_state` have it, and as `mm1 import` brings it: the paper does not say which.
"""

from __future__ import annotations

from mm1.models.connector import CAbstractorConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1Config
from mm1.models.moe import MoEConfig

VOCAB_SIZE = 64_000

NUM_PARAMETERS = {"9m": 9e6, "85m": 85e6, "302m": 302e6, "1.2b": 1.2e9, "3b": 2.9e9, "7b": 6.4e9, "30b": 30e9}
"""The paper's sizes, embeddings not counted."""

_CLIP = ImageEncoderConfig(
    image_size=224, patch_size=14, mlp="quick_gelu", class_token=True, pre_norm=True, post_norm=False
)
CLIP_L_224 = _CLIP.replace(dim=1024, num_layers=24, num_heads=16, mlp_dim=4096)
CLIP_L_336 = CLIP_L_224.replace(image_size=336)
"""Of the ablations: ViT-L/14 trained on DFN-5B and VeCap-300M (Apple's own; apple/ml-veclip has public ones). The GELU
is taken over from the public DFN weights."""
CLIP_H_224 = _CLIP.replace(dim=1280, num_layers=32, num_heads=16, mlp_dim=5120)
CLIP_H_378 = CLIP_H_224.replace(image_size=378)
"""Of the final models: apple/DFN5B-CLIP-ViT-H-14-378."""

_AIM = ImageEncoderConfig(
    image_size=224,
    patch_size=14,
    num_layers=24,
    bias=False,
    stem_bias=True,
    stem_norm=True,
    positions="sincos",
    norm_eps=1e-6,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
AIM_600M = _AIM.replace(dim=1536, num_heads=12, mlp_dim=6144, num_layers_used=20)
"""MM1 runs 20 of the 24 layers; of the larger ones it says nothing, so they keep all."""
AIM_1B = _AIM.replace(dim=2048, num_heads=16, mlp_dim=8192)
AIM_3B = _AIM.replace(dim=3072, num_heads=24, mlp_dim=12288)

_DECODER = DecoderConfig(vocab_size=VOCAB_SIZE, mlp="swiglu")
_UNTIED = _DECODER.replace(tied_embeddings=False)
DECODERS = {
    "9m": _DECODER.replace(num_layers=12, dim=256, num_heads=4, mlp_dim=640),
    "85m": _DECODER.replace(num_layers=12, dim=768, num_heads=12, mlp_dim=2048),
    "302m": _DECODER.replace(num_layers=24, dim=1024, num_heads=16, mlp_dim=2752),
    "1.2b": _DECODER.replace(num_layers=24, dim=2048, num_heads=16, mlp_dim=5440),
    "3b": _DECODER.replace(num_layers=36, dim=2560, num_heads=20, mlp_dim=6912),
    "7b": _UNTIED.replace(num_layers=32, dim=4096, num_heads=32, num_kv_heads=8, mlp_dim=13056),
    "30b": _UNTIED.replace(num_layers=48, dim=7168, num_heads=56, num_kv_heads=8, mlp_dim=23552),
}

EXPERTS = {"3b": MoEConfig(num_experts=64, top_k=2, every=2), "7b": MoEConfig(num_experts=32, top_k=2, every=4)}
"""Numbers and places are the paper's. It gives no capacity; ours drops nothing."""

CONNECTOR = CAbstractorConfig(num_image_tokens=144)
"""Honeybee's defaults otherwise: the paper gives neither width nor depth."""


def mm1(size: str, image_encoder: ImageEncoderConfig, experts: bool = False) -> MM1Config:
    """The whole model of a size in `DECODERS`, sparse where `experts`."""
    decoder = DECODERS[size]
    if experts:
        decoder = decoder.replace(moe=EXPERTS[size])
    return MM1Config(decoder=decoder, image_encoder=image_encoder, connector=CONNECTOR)
