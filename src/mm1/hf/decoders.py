"""Which decoders of Hugging Face ours can be, and config.json ↔ DecoderConfig.

    decoder_config(folder.config)                        # DecoderConfig(dim=4096, …)
    family = choose_family(config, preferred="mistral")  # the family that can say all that the config says
    config_json(config, family, max_positions=4096)      # what transformers reads

A family is a row of a table: what its layers always are. Whatever a config.json asks for beyond that is refused by
name, never ignored. Reads what transformers 5 writes (`rope_parameters`) and what 4 wrote (`rope_theta` and
`rope_scaling`), and writes the latter, which both read. Knows nothing of tensors and does not need transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mm1.config import UserError, from_json
from mm1.hf.rope import read_rope, write_rope
from mm1.models.decoder import DecoderConfig


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all models of one `model_type` have in common."""

    model_type: str
    architecture: str
    qkv_bias: bool = False
    qk_norm: Literal["none", "head", "projection"] = "none"
    norm_placement: Literal["pre", "post"] = "pre"
    window: Literal["none", "always", "switched"] = "none"
    """No sliding window; wherever `sliding_window` is not null; or only where `use_sliding_window` says so too."""
    experts: Literal["none", "every_layer", "some_layers"] = "none"
    rope_theta: float = 10_000.0
    """Where config.json gives none, as those of Llama 2."""


FAMILIES = (
    Family(model_type="llama", architecture="LlamaForCausalLM"),
    Family(model_type="mistral", architecture="MistralForCausalLM", window="always"),
    Family(model_type="qwen2", architecture="Qwen2ForCausalLM", qkv_bias=True, window="switched"),
    Family(model_type="qwen3", architecture="Qwen3ForCausalLM", qk_norm="head", window="switched"),
    Family(model_type="olmo2", architecture="Olmo2ForCausalLM", qk_norm="projection", norm_placement="post"),
    Family(
        model_type="mixtral",
        architecture="MixtralForCausalLM",
        window="always",
        experts="every_layer",
        rope_theta=1_000_000.0,
    ),
    Family(
        model_type="qwen3_moe",
        architecture="Qwen3MoeForCausalLM",
        qk_norm="head",
        window="switched",
        experts="some_layers",
    ),
)
"""From the most to the least widely supported: `choose_family` takes the first that fits."""

EXPECTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1.0,),
    "quantization_config": (None,),
    "clip_qkv": (None,),
}
"""Keys that change what is computed, with the values that mm1's decoder computes. An absent key means the first."""


def family_of(config: dict[str, Any]) -> Family:
    """The family that config.json names.

    Raises:
        UserError: it names none of ours; the sentence lists ours.
    """
    for family in FAMILIES:
        if config.get("model_type") == family.model_type:
            return family
    known = ", ".join(family.model_type for family in FAMILIES)
    raise UserError(f"config.json has model_type {config.get('model_type')!r}: the decoders mm1 can import are {known}")


def decoder_config(config: dict[str, Any]) -> DecoderConfig:
    """Our shape of the decoder that config.json describes.

    Raises:
        UserError: the family is none of ours, a key is missing, or one asks for what our decoder does not compute.
    """
    family = family_of(config)
    for key, allowed in EXPECTED.items():
        if config.get(key, allowed[0]) not in allowed:
            raise UserError(
                f"config.json has {key}={config[key]!r}, which mm1's decoder does not compute ({family.model_type} can "
                f"be imported with {key}={allowed[0]!r}): give another checkpoint"
            )
    heads, dim = _count(config, "num_attention_heads"), _count(config, "hidden_size")
    # transformers takes 128 for a Qwen3 that does not say: a model that relies on that is one too unclear to guess.
    head_dim = _need(config, "head_dim") if family.model_type == "qwen3" else config.get("head_dim")
    kv_heads = config.get("num_key_value_heads")
    context_length(config)  # an export tells it to others, who need a number
    rope_theta, rope_scaling = read_rope(config, family.rope_theta)
    values = {
        "vocab_size": _need(config, "vocab_size"),
        "dim": dim,
        "num_layers": _count(config, "num_hidden_layers"),
        "num_heads": heads,
        "num_kv_heads": heads if kv_heads is None else kv_heads,
        "head_dim": dim // heads if head_dim is None else head_dim,
        "mlp_dim": _need(config, "intermediate_size"),
        "mlp": "swiglu",
        "rope_theta": rope_theta,
        "rope_scaling": rope_scaling,
        "norm_eps": _need(config, "rms_norm_eps"),
        "tied_embeddings": config.get("tie_word_embeddings", False),
        "qkv_bias": family.qkv_bias,
        "qk_norm": family.qk_norm,
        "norm_placement": family.norm_placement,
        "sliding_window": _read_window(config, family),
        "moe": _read_experts(config, family),
    }
    return from_json(DecoderConfig, values, "config.json")


def context_length(config: dict[str, Any]) -> int | None:
    """How many positions config.json says that a text may have; None where it says nothing.

    Raises:
        UserError: it says what is no number from 1 up.
    """
    return None if config.get("max_position_embeddings") is None else _count(config, "max_position_embeddings")


def choose_family(config: DecoderConfig, preferred: str | None = None) -> Family:
    """The family whose config.json can say all that `config` says: the preferred one if it can, else the first.

    Raises:
        UserError: none can; the sentence names the options in the way of the nearest family.
    """
    obstacles = {family: _obstacles(config, family) for family in FAMILIES}
    fitting = [family for family in FAMILIES if not obstacles[family]]
    if not fitting:
        # A sparse decoder is nearer to the sparse families, whatever else differs.
        nearest = min(
            FAMILIES, key=lambda each: ((each.experts == "none") != (config.moe is None), len(obstacles[each]))
        )
        raise UserError(
            f"no plain decoder of transformers is like this one: the nearest, {nearest.model_type}, would need "
            f"{' and '.join(obstacles[nearest])}; train such a decoder, or export without --decoder-only"
        )
    return next((family for family in fitting if family.model_type == preferred), fitting[0])


def config_json(config: DecoderConfig, family: Family, max_positions: int) -> dict[str, Any]:
    """What transformers reads as config.json, except the ids of special tokens and the dtype.

    `max_positions` is told to readers and limits nothing in the model.
    """
    assert not _obstacles(config, family), "choose_family says which families fit"
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.dim_per_head,
        "intermediate_size": config.mlp_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "max_position_embeddings": max_positions,
        **write_rope(config.rope_theta, config.rope_scaling),
        **_write_window(config, family),
        **_write_experts(config, family),
    }


def _need(config: dict[str, Any], key: str) -> Any:
    if config.get(key) is None:
        raise UserError(f"config.json has no {key}, which a {config['model_type']} needs: copy it again")
    return config[key]


def _count(config: dict[str, Any], key: str) -> int:
    value = _need(config, key)
    least = 0 if key == "max_window_layers" else 1
    if not isinstance(value, int) or value < least:
        raise UserError(f"config.json has {key}={value!r}, which is no number from {least} up: copy it again")
    return value


def _read_window(config: dict[str, Any], family: Family) -> int | None:
    """The sliding window that all layers have, or None.

    Raises:
        UserError: only some of the layers have one.
    """
    if family.window == "none" or (family.window == "switched" and not config.get("use_sliding_window", False)):
        return None
    if family.window == "always" and "sliding_window" not in config:
        raise UserError(f"config.json has no sliding_window, which a {family.model_type} needs: give a number or null")
    window: int | None = config.get("sliding_window")
    layers = _count(config, "num_hidden_layers")
    kinds = config.get("layer_types")
    if kinds is None and family.model_type in ("qwen2", "qwen3") and window is not None:
        first = _count(config, "max_window_layers")  # layers before it see everything
        kinds = ["full_attention"] * min(first, layers) + ["sliding_attention"] * max(layers - first, 0)
    if not isinstance(kinds, list | None):
        raise UserError(f"config.json has layer_types={kinds!r}, which is no list: copy it again")
    sliding = sum(kind == "sliding_attention" for kind in kinds or [])
    if kinds is None or window is None or sliding == layers:
        return window
    if sliding == 0 and all(kind == "full_attention" for kind in kinds):
        return None
    raise UserError(
        f"config.json gives a sliding window to {sliding} of {layers} layers, but mm1's decoder has one for all or "
        "for none: give another checkpoint"
    )


def _write_window(config: DecoderConfig, family: Family) -> dict[str, Any]:
    match family.window:
        case "none":
            return {}
        case "always":
            return {"sliding_window": config.sliding_window}
        case "switched":
            used = config.sliding_window is not None
            return {
                "use_sliding_window": used,
                "sliding_window": config.sliding_window,
                "max_window_layers": 0 if used else config.num_layers,
            }


def _read_experts(config: dict[str, Any], family: Family) -> dict[str, Any] | None:
    """Fields of a MoEConfig."""
    if family.experts == "none":
        return None
    count = config.get("num_local_experts", config.get("num_experts"))  # the one name of mixtral, both of qwen3_moe
    if count is None:
        raise UserError(f"config.json has no num_local_experts, which a {family.model_type} needs: copy it again")
    top_k = _need(config, "num_experts_per_tok")
    if family.experts == "every_layer":
        return {"num_experts": count, "top_k": top_k, "every": 1}
    if config.get("mlp_only_layers"):
        raise UserError(
            f"config.json has mlp_only_layers={config['mlp_only_layers']}, but mm1's sparse layers stand at equal "
            "distances: only an empty list can be imported"
        )
    return {
        "num_experts": count,
        "top_k": top_k,
        "every": config.get("decoder_sparse_step", 1),
        "expert_dim": _need(config, "moe_intermediate_size"),
        "renormalise": config.get("norm_topk_prob", False),
    }


def _write_experts(config: DecoderConfig, family: Family) -> dict[str, Any]:
    if config.moe is None:
        return {}
    width = config.moe.expert_dim or config.mlp_dim
    if family.experts == "every_layer":
        count = {"num_local_experts": config.moe.num_experts, "intermediate_size": width}
        return {**count, "num_experts_per_tok": config.moe.top_k}
    return {
        "num_experts": config.moe.num_experts,
        "num_experts_per_tok": config.moe.top_k,
        "moe_intermediate_size": width,
        "norm_topk_prob": config.moe.renormalise,
        "decoder_sparse_step": config.moe.every,
        "mlp_only_layers": [],
    }


def _obstacles(config: DecoderConfig, family: Family) -> list[str]:
    """What would have to be otherwise for `family` to hold `config`, as `option=value (it is …)`."""
    wanted: dict[str, tuple[Any, Any]] = {
        "mlp": (config.mlp, "swiglu"),
        "smeared_keys": (config.smeared_keys, False),
        "qkv_bias": (config.qkv_bias, family.qkv_bias),
        "qk_norm": (config.qk_norm, family.qk_norm),
        "norm_placement": (config.norm_placement, family.norm_placement),
    }
    if family.window == "none":
        wanted["sliding_window"] = (config.sliding_window, None)
    if family.experts == "none":
        wanted["moe"] = (None if config.moe is None else "set", None)
    elif config.moe is None:
        wanted["moe"] = (None, "set")
    elif family.experts == "every_layer":
        wanted["moe.every"] = (config.moe.every, 1)
        wanted["moe.renormalise"] = (config.moe.renormalise, True)
    return [f"{name}={needed} (it is {has})" for name, (has, needed) in wanted.items() if has != needed]
