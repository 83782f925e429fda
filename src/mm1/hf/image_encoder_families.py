"""The image encoders of Hugging Face that ours can be: what each family always is, and what it calls its tensors.

    FAMILIES["clip"].theirs("blocks.3.qkv.weight", swiglu=False)
    # ("encoder.layers.3.self_attn.q_proj.weight", "….k_proj.weight", "….v_proj.weight")

A new family is a row. Names are those of the published files, without what a larger model puts before them. Knows
nothing of files and does not need transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all encoders of one family have in common."""

    model_types: tuple[str, ...]
    defaults: Mapping[str, Any]
    """Of config.json, which leaves out what is as transformers has it unasked."""
    fixed: Mapping[str, Any]
    """Fields of ImageEncoderConfig that are always so."""
    mean: tuple[float, float, float]
    """Of the pixels, where the folder does not say; likewise `std`."""
    std: tuple[float, float, float]
    names: Mapping[str, tuple[str, ...]]
    """Their names for ours, outside the blocks and inside; several are stacked into one."""
    layers: str
    """What their blocks' names begin with."""
    left_behind: tuple[str, ...] = ()
    """Beginnings of the names of tensors that features do not need."""
    swiglu_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Instead of `names` where the MLP is gated, in families that have both kinds."""
    leading_ones: Mapping[str, int] = field(default_factory=dict)
    """Dimensions of size 1 that they put before ours."""

    def theirs(self, ours: str, swiglu: bool) -> tuple[str, ...]:
        """Their names, one after the other in our tensor, for the name `ours` of an ImageEncoder's state."""
        block = re.match(r"blocks\.(\d+)\.", ours)
        prefix = f"{self.layers}{block[1]}." if block else ""
        module, dot, kind = (ours[block.end() :] if block else ours).partition(".")
        names = self.swiglu_names.get(module) if swiglu else None
        return tuple(f"{prefix}{name}{dot}{kind}" for name in names or self.names[module])


CLIP_BLOCK = {
    "attention_norm": ("layer_norm1",),
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "output": ("self_attn.out_proj",),
    "mlp_norm": ("layer_norm2",),
    "up": ("mlp.fc1",),
    "down": ("mlp.fc2",),
}
SIZES = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_channels": 3, "image_size": 224}

FAMILIES = {
    "clip": Family(
        model_types=("clip", "clip_vision_model"),
        defaults=SIZES
        | {"intermediate_size": 3072, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
        fixed={"class_token": True, "pre_norm": True, "post_norm": False},
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        names=CLIP_BLOCK
        | {
            "stem": ("embeddings.patch_embedding",),
            "class_token": ("embeddings.class_embedding",),
            "positions": ("embeddings.position_embedding.weight",),
            "pre_norm": ("pre_layrnorm",),  # their spelling
        },
        layers="encoder.layers.",
        left_behind=("post_layernorm.", "embeddings.position_ids"),
    ),
    "siglip": Family(
        model_types=("siglip", "siglip_vision_model"),
        defaults=SIZES
        | {"intermediate_size": 3072, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
        fixed={"stem_bias": True},
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        names=CLIP_BLOCK
        | {
            "stem": ("embeddings.patch_embedding",),
            "positions": ("embeddings.position_embedding.weight",),
            "post_norm": ("post_layernorm",),
        },
        layers="encoder.layers.",
        left_behind=("head.", "embeddings.position_ids"),
    ),
    "aimv2": Family(
        model_types=("aimv2", "aimv2_vision_model"),
        defaults=SIZES
        | {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 8,
            "intermediate_size": 2816,
            "patch_size": 14,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "qkv_bias": False,
            "mlp_bias": False,
            "is_native": False,
        },
        fixed={"stem_bias": True, "stem_norm": True, "norm": "rmsnorm"},
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        names={
            "stem": ("embeddings.patch_embed",),
            "stem_norm": ("embeddings.rms_norm",),
            "positions": ("embeddings.position_embedding.weight",),
            "post_norm": ("rms_norm",),
            "attention_norm": ("rms_norm1",),
            "qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
            "output": ("attention.out_proj",),
            "mlp_norm": ("rms_norm2",),
            "up": ("ffn.gate_proj", "ffn.up_proj"),
            "down": ("ffn.down_proj",),
        },
        layers="encoder.layers.",
        left_behind=("head.", "embeddings.position_ids"),
    ),
    "dinov2": Family(
        model_types=("dinov2",),
        defaults=SIZES
        | {
            "mlp_ratio": 4,
            "patch_size": 14,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "qkv_bias": True,
            "use_swiglu_ffn": False,
        },
        fixed={"stem_bias": True, "class_token": True, "layer_scale": True},
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        names={
            "stem": ("embeddings.patch_embeddings.projection",),
            "class_token": ("embeddings.cls_token",),
            "positions": ("embeddings.position_embeddings",),
            "post_norm": ("layernorm",),
            "attention_norm": ("norm1",),
            "qkv": ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
            "output": ("attention.output.dense",),
            "attention_scale": ("layer_scale1.lambda1",),
            "mlp_norm": ("norm2",),
            "up": ("mlp.fc1",),
            "down": ("mlp.fc2",),
            "mlp_scale": ("layer_scale2.lambda1",),
        },
        layers="encoder.layer.",
        left_behind=("embeddings.mask_token",),
        swiglu_names={"up": ("mlp.weights_in",), "down": ("mlp.weights_out",)},
        leading_ones={"class_token": 2, "positions": 1},
    ),
}

REFUSED = {
    "dinov2_with_registers": "it has register tokens",
    "siglip2": "it packs images of sizes of their own",
    "siglip2_vision_model": "it packs images of sizes of their own",
}
"""Known relatives that one ImageEncoderConfig can not express, and why."""
