"""Rotary positions in config.json ↔ ours: the base and how the frequencies were stretched.

    read_rope({"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, default_theta=1e4)
    # (500000.0, {"kind": "linear", "factor": 2.0}), the fields of a RopeScalingConfig

transformers 5 writes one object, `rope_parameters`; 4 wrote `rope_theta` and `rope_scaling`. Both are read, in
transformers' own order of precedence; the latter are written, because both versions read them.
"""

from __future__ import annotations

import math
from typing import Any

from mm1.config import UserError
from mm1.models.rotary import LinearScaling, Llama3Scaling, RopeScalingConfig, YarnScaling

ORIGINAL = "original_max_position_embeddings"
COMMON = ("rope_type", "type", "rope_theta", "partial_rotary_factor", ORIGINAL)
KEYS: dict[str, tuple[str, ...]] = {
    "default": COMMON,
    "linear": (*COMMON, "factor"),
    "llama3": (*COMMON, "factor", "low_freq_factor", "high_freq_factor"),
    "yarn": (
        *COMMON,
        "factor",
        "beta_fast",
        "beta_slow",
        "attention_factor",
        "mscale",
        "mscale_all_dim",
        "truncate",
        "finetuned",
    ),
}
NUMBERS = ("factor", "mscale", "mscale_all_dim", ORIGINAL)
"""Of these, the ones that are reckoned with here."""
"""By kind, what may be said of it. `finetuned` is a remark of YaRN's authors that computes nothing."""


def read_rope(config: dict[str, Any], default_theta: float) -> tuple[float, dict[str, Any] | None]:
    """The base of the frequencies and the fields of their scaling, from a whole config.json.

    Raises:
        UserError: positions of a kind that our decoder does not compute; the sentence lists those that it does.
    """
    given: Any = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(given, dict):
        raise UserError(f"config.json has rope_scaling={given!r}, which is no object: copy it again")
    kind = str(given.get("rope_type", given.get("type", "default")))
    theta = given.get("rope_theta", config.get("rope_theta", default_theta))
    _check(given, kind)
    _check_numbers({**given, ORIGINAL: config.get(ORIGINAL) or given.get(ORIGINAL)})
    if kind == "default":
        return theta, None
    longest, factor = config.get("max_position_embeddings"), given.get("factor")
    original = config.get(ORIGINAL) or given.get(ORIGINAL) or longest
    if kind == "yarn" and factor is None and longest is not None:
        factor = longest / original
    if original is None or factor is None:
        missing = ORIGINAL if original is None else "a factor"
        raise UserError(f"config.json has rope_type={kind} without {missing}: copy it again")
    if kind == "linear":
        return theta, {"kind": kind, "factor": factor}
    if kind == "llama3":
        names = [name for name in KEYS["llama3"] if name.endswith("_freq_factor") and name in given]
        bounds = {name: given[name] for name in names}
        return theta, {"kind": kind, "factor": factor, "original_len": original, **bounds}
    return theta, {"kind": kind, "factor": factor, "original_len": original, **_yarn(given, factor)}


def write_rope(theta: float, scaling: RopeScalingConfig | None) -> dict[str, Any]:
    """What config.json says of them."""
    return {"rope_theta": theta, "rope_scaling": None if scaling is None else _write_scaling(scaling)}


def _check(given: dict[str, Any], kind: str) -> None:
    if kind not in KEYS:
        raise UserError(f"config.json has rope_type={kind!r}: mm1's decoder computes {', '.join(KEYS)}")
    unknown = [key for key, value in given.items() if key not in KEYS[kind] and value is not None]
    if unknown:
        raise UserError(
            f"config.json says {unknown[0]}={given[unknown[0]]!r} of its rotary positions of rope_type={kind}, which "
            "mm1's decoder does not compute: give another checkpoint"
        )
    if given.get("partial_rotary_factor") not in (None, 1.0):
        raise UserError(
            f"config.json has partial_rotary_factor={given['partial_rotary_factor']}, but mm1's decoder turns all "
            "channels of a head: give another checkpoint"
        )


def _check_numbers(values: dict[str, Any]) -> None:
    for key in NUMBERS:
        value = values.get(key)
        if value is not None and (not isinstance(value, int | float) or value < 0):
            raise UserError(
                f"config.json has {key}={value!r} of its rotary positions, which is no number: copy it again"
            )


def _yarn(given: dict[str, Any], factor: float) -> dict[str, Any]:
    attention_factor = given.get("attention_factor")
    if attention_factor is None and given.get("mscale") and given.get("mscale_all_dim"):
        attention_factor = _sharpening(factor, given["mscale"]) / _sharpening(factor, given["mscale_all_dim"])
    return {
        "beta_fast": given.get("beta_fast") or 32.0,
        "beta_slow": given.get("beta_slow") or 1.0,
        "attention_factor": attention_factor,
        "truncate": given.get("truncate", True),
    }


def _sharpening(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def _write_scaling(scaling: RopeScalingConfig) -> dict[str, Any]:
    match scaling:
        case LinearScaling():
            return {"rope_type": "linear", "factor": scaling.factor}
        case Llama3Scaling():
            return {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                ORIGINAL: scaling.original_len,
            }
        case YarnScaling():
            own = {} if scaling.attention_factor is None else {"attention_factor": scaling.attention_factor}
            return {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "truncate": scaling.truncate,
                ORIGINAL: scaling.original_len,
                **own,
            }
