r"""What the settings of a task mean that other harnesses ask for: lm-eval and lmms-eval word them alike.

    sampling_of({"do_sample": False, "temperature": 0.7})     # greedy
    until_of({"until": "\n"})                                 # ("\n",)

Knows nothing of the harnesses themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mm1.config import UserError
from mm1.generate.sampling import SamplingConfig

MAX_NEW_TOKENS = 256
"""Of a text, where the task does not say; lm-eval's own default."""


def sampling_of(settings: Mapping[str, Any]) -> SamplingConfig:
    """Greedy unless a task asks for anything else.

    Raises:
        UserError: it asks for a search with several beams, which the engine does not have.
    """
    if int(settings.get("num_beams") or 1) > 1:
        raise UserError(
            f"a task asks for num_beams={settings['num_beams']}, but mm1 has no beam search: set it to 1 in the task"
        )
    temperature = float(settings.get("temperature") or 0.0) if settings.get("do_sample", True) else 0.0
    top_k = settings.get("top_k")
    return SamplingConfig(
        temperature=temperature, top_p=float(settings.get("top_p") or 1.0), top_k=int(top_k) if top_k else None
    )


def until_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The strings before which a text ends."""
    until = settings.get("until") or ()
    return (until,) if isinstance(until, str) else tuple(until)
