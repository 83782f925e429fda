"""Real pictures that were never trained on: name an emoji or a piece of clip art among four names.

    naming   held-out pictures of the embedded sample
    style    things known in one style (emoji), shown in another (clip art, pictograms)

Shots are captioned held-out pictures too. Knows nothing of the synthetic world.
"""

from __future__ import annotations

import random

from mm1.config import Config, Seed
from mm1.data import templates
from mm1.data.embedded import CaptionRecord, caption_records, distractors
from mm1.data.embedded_source import captioned
from mm1.eval.episodes import Episode
from mm1.eval.tasks import Task, exact_match
from mm1.types import Image


class NamingTasksConfig(Config):
    """How many pictures, among how many names, with how many shots at most."""

    num_episodes: int = 120
    num_choices: int = 4
    max_shots: int = 8
    seed: Seed = 0


def naming_tasks(config: NamingTasksConfig) -> list[Task]:
    """The two tasks, as choices among names by likelihood."""
    shots_from = caption_records("test")
    return [
        _task("naming", caption_records("test"), shots_from, config),
        _task("style", caption_records("style_test"), shots_from, config),
    ]


def _task(name: str, records: list[CaptionRecord], shots_from: list[CaptionRecord], config: NamingTasksConfig) -> Task:
    rng = random.Random(f"{config.seed}/{name}")
    chosen = rng.sample(records, min(config.num_episodes, len(records)))
    episodes = tuple(_episode(record, shots_from, config, rng) for record in chosen)
    return Task(name=name, episodes=episodes, metric=exact_match, mode="choose", length_normalised=True)


def _episode(
    record: CaptionRecord, shots_from: list[CaptionRecord], config: NamingTasksConfig, rng: random.Random
) -> Episode:
    others = [other for other in shots_from if other.image != record.image and other.caption != record.caption]
    names = [record.caption, *distractors(record, config.num_choices - 1, config.seed)]
    return Episode(
        id=record.id,
        query=templates.caption_prompt(Image(record.image)),
        references=(record.caption,),
        kind=record.source,
        shots=tuple(captioned(shot) for shot in rng.sample(others, config.max_shots)),
        candidates=tuple(f" {name}{templates.STOP}" for name in names),
        chance=1 / len(names),
    )
