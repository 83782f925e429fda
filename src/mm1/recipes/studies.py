"""The studies by name: which question, which recipe, which variants."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from mm1.ablations.study import Study
from mm1.chain.recipe import RecipeConfig
from mm1.config import UserError, override
from mm1.recipes.tiny import tiny


def _connector(kind: str, *fields: str) -> tuple[str, ...]:
    """Overrides that put another connector into both multimodal stages."""
    return tuple(
        f"{stage}.model.connector.{assignment}"
        for stage in ("pretrain", "sft")
        for assignment in (f"kind={kind}", *fields)
    )


def _mixture(interleaved: float, captions: float, text: float) -> tuple[str, ...]:
    """Overrides of the pretraining groups' weights; 0 leaves a group out."""
    return tuple(
        f"pretrain.data.mixture.groups.{index}.weight={weight}"
        for index, weight in enumerate((interleaved, captions, text))
    )


def _base() -> RecipeConfig:
    """The tiny recipe without the blind runs, which do not bear on the questions here."""
    return override(tiny(), ["eval.blind=false"])


def tiny_seeds() -> Study:
    """The default recipe, three times."""
    return Study(
        name="tiny-seeds",
        question="How much do the tiny recipe's scores vary with the seed?",
        base=_base(),
        variants={"tiny": ()},
    )


def tiny_connectors() -> Study:
    """The paper's three connectors at the same number of image tokens."""
    return Study(
        name="tiny-connectors",
        question="Which connector serves the tiny recipe best?",
        base=_base(),
        variants={
            "avg_pool": _connector("avg_pool"),
            "attention_pool": _connector("attention_pool"),
            "c_abstractor": _connector("c_abstractor", "hidden_dim=128", "depth=1"),
        },
    )


def tiny_mixtures() -> Study:
    """The paper's data lesson: captions alone, interleaved alone, the mixture."""
    return Study(
        name="tiny-mixtures",
        question="What do captions, interleaved pages and text each contribute?",
        base=_base(),
        variants={
            "captions": _mixture(0, 1, 0),
            "interleaved": _mixture(1, 0, 0),
            "mixture": _mixture(0.45, 0.45, 0.1),
        },
    )


STUDIES: dict[str, Callable[[], Study]] = {
    "tiny-seeds": tiny_seeds,
    "tiny-connectors": tiny_connectors,
    "tiny-mixtures": tiny_mixtures,
}


def load_study(name: str) -> Study:
    """The study of that name; UserError with the nearest if there is none."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        raise UserError(
            f"no study is named '{name}': "
            + (f"did you mean '{near[0]}'?" if near else f"there are {', '.join(STUDIES)}")
        )
    return STUDIES[name]()
