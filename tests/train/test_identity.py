"""A stage is the same one whatever is free to change, and another one whatever is not."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from mm1.config import override
from mm1.train.identity import FREE_TO_CHANGE, identity
from mm1.train.stage import StageConfig

DECIDING: dict[str, str] = {
    "model": "kind embed_dim head_dim head_depth",
    "model.decoder": (
        "vocab_size dim num_layers num_heads num_kv_heads head_dim mlp_dim mlp rope_theta norm_eps "
        "tied_embeddings qkv_bias qk_norm norm_placement sliding_window smeared_keys"
    ),
    "model.decoder.rope_scaling": (
        "kind factor original_len low_freq_factor high_freq_factor beta_fast beta_slow attention_factor truncate"
    ),
    "model.decoder.moe": "num_experts top_k every expert_dim renormalise capacity_factor backend",
    "model.image_encoder": (
        "image_size position_size patch_size dim num_layers num_layers_used num_heads mlp_dim mlp bias "
        "layer_scale stem stem_bias stem_norm class_token positions norm norm_eps pre_norm post_norm mean std"
    ),
    "model.connector": "kind num_image_tokens num_heads hidden_dim depth mlp_depth",
    "model.text_tower": (
        "vocab_size dim num_layers num_heads num_kv_heads head_dim mlp_dim mlp rope_theta norm_eps "
        "tied_embeddings qkv_bias qk_norm norm_placement sliding_window smeared_keys"
    ),
    "model.text_tower.rope_scaling": (
        "kind factor original_len low_freq_factor high_freq_factor beta_fast beta_slow attention_factor truncate"
    ),
    "model.text_tower.moe": "num_experts top_k every expert_dim renormalise capacity_factor backend",
    "": "objective steps microbatch_rows max_grad_norm precision seed init",
    "loss": "output_z load_balance router_z",
    "data.mixture.groups": "name weight",
    "data.mixture.groups.sources": "name weight",
    "data.mixture": "measure",
    "data": "seq_len rows max_images image_size seed",
    "data.sub_images.grid": "kind rows columns min_tiles max_tiles",
    "data.sub_images": "fit background overview",
    "optimizer": (
        "kind learning_rate weight_decay betas eps momentum decay_power clip_update scale_by_size factor_from "
        "learning_rate_scales frozen"
    ),
    "ema": "decay start written",
    "schedule": "shape warmup_steps final_fraction hold_fraction",
}
"""By the config that has them, fields of which another value may give other weights."""


def fields(kind: type[BaseModel], prefix: str = "") -> dict[str, None]:
    """Dotted paths of all leaves of a config, those of every config that may stand in a place."""
    found: dict[str, None] = {}
    for name, field in kind.model_fields.items():
        if inner := list(_configs(field.annotation)):
            for each in inner:
                found |= fields(each, f"{prefix}{name}.")
        else:
            found[prefix + name] = None
    return found


def _configs(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _configs(argument)


def test_of_every_field_it_is_decided_whether_weights_depend_on_it() -> None:
    """A new field fails here: add it to FREE_TO_CHANGE in identity.py, or above."""
    found = fields(StageConfig)
    free = {path for path in found if any(path == one or path.startswith(one + ".") for one in FREE_TO_CHANGE)}
    deciding = {f"{outer}.{name}".lstrip(".") for outer, names in DECIDING.items() for name in names.split()}
    assert set(found) - free == deciding
    for path in FREE_TO_CHANGE:
        assert any(each == path or each.startswith(path + ".") for each in free), f"{path} is no field"


@pytest.mark.parametrize(
    "change",
    [
        *("log_every=7", "checkpoint_every=9", "checkpoints_kept=1", "num_workers=3", "max_skipped_steps=0"),
        *("parallel.compile=true", "parallel.reduce_gradients=last", "data.max_dropped_share=0.5"),
    ],
)
def test_what_is_free_changes_nothing(tiny: ModuleType, change: str) -> None:
    assert identity(override(tiny.stage(), [change])) == identity(tiny.stage())


@pytest.mark.parametrize("change", ["steps=7", "seed=1", "precision=auto", "data.rows=2", "optimizer.eps=1e-6"])
def test_what_decides_makes_it_another_stage(tiny: ModuleType, change: str) -> None:
    assert identity(override(tiny.stage(), [change])) != identity(tiny.stage())
