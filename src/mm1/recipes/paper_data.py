"""What MM1's paper trains on: its sources by name, and how they are mixed.

Of pretraining the paper gives the sources, the groups' shares of the sequences (45 % interleaved, 45 % captions, 10 %
text) and that VeCap is 7 % of the captions. The other weights inside a group are ours: captions and interleaved pages
by the sizes of the sources, in millions; text by guess. Of fine-tuning it gives the datasets and that they are mixed at
random: weights are their numbers of examples, in thousands, 1448 in all.

Most of the data is Apple's own, and no recipe here fetches any: each source is a folder of shards that the user has
prepared, at `DATA`/NAME, all with the tokenizer `DATA`/tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mm1.chain.prepare import PrepareConfig, ShardsConfig
from mm1.data.plan import GroupConfig, MixtureConfig, SourceConfig

DATA = Path("data/mm1")

INTERLEAVED = {"obelics": 141.0, "web_interleaved": 500.0}
_WEB_CAPTIONS = {"cc3m": 3.0, "cc12m": 12.0, "hqipt_204m": 204.0, "coyo": 747.0, "web_image_text_1b": 1000.0}
CAPTIONS = {**_WEB_CAPTIONS, "vecap_300m": sum(_WEB_CAPTIONS.values()) * 0.07 / 0.93}
TEXT = {"web_text": 0.6, "code": 0.1, "social_media": 0.1, "books": 0.1, "encyclopedic": 0.05, "math": 0.05}
INSTRUCTIONS = {
    "text_sft": 13.0,
    "llava_conversation": 57.0,
    "llava_complex": 77.0,
    "sharegpt4v": 102.0,
    "vqav2": 83.0,
    "gqa": 72.0,
    "okvqa": 9.0,
    "ocrvqa": 80.0,
    "aokvqa": 66.0,
    "coco_captions": 83.0,
    "textcaps": 22.0,
    "dvqa": 200.0,
    "chartqa": 18.0,
    "ai2d": 3.0,
    "docvqa": 39.0,
    "infovqa": 24.0,
    "synthdog_en": 500.0,
}


def _group(name: str, weight: float, sources: Mapping[str, float]) -> GroupConfig:
    return GroupConfig(
        name=name,
        weight=weight,
        sources=tuple(SourceConfig(name=source, weight=share) for source, share in sources.items()),
    )


PRETRAIN_MIXTURE = MixtureConfig(
    groups=(
        _group("interleaved", 0.45, INTERLEAVED),
        _group("captions", 0.45, CAPTIONS),
        _group("text", 0.10, TEXT),
    )
)
SFT_MIXTURE = MixtureConfig(groups=(_group("instructions", 1.0, INSTRUCTIONS),))


def prepared(*mixtures: MixtureConfig) -> PrepareConfig:
    """The sources of `mixtures`, from where the user has prepared them."""
    names = [name for mixture in mixtures for name in mixture.shares()]
    return PrepareConfig(
        sources=tuple(ShardsConfig(name=name, path=DATA / name) for name in names), tokenizer=DATA / "tokenizer.json"
    )
