"""Every benchmark by name, and how one becomes a task.

    tasks = build_tasks([("vqav2", Path("data/vqav2"))], FewShotConfig(seeds=(0, 1, 2)))

A benchmark is its reader, its prompt, its rule for answers and its metric; a variant of the prompt (examples chosen
otherwise, without pictures, with reasoning) stands in the task's name, so that no two are taken for each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from mm1.config import Config, UserError
from mm1.eval.instruct.catalog import BENCHMARKS as CHATS
from mm1.eval.instruct.catalog import instruct_task
from mm1.eval.official import captions, jsonl, vqa
from mm1.eval.official.extraction import reasoned_answer, short_answer
from mm1.eval.official.fewshot import FewShotTask, key
from mm1.eval.official.omniglot import omniglot_task
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Folder, Material, Row, digests
from mm1.eval.official.selection import Drawn, Fixed, Selection
from mm1.eval.official.templates import CAPTION, CHOICE, LABEL, REASONED, SHORT_ANSWER, Template
from mm1.eval.tasks import Metric, Task, anls, cider, exact_match, relaxed_accuracy, vqa_accuracy

OMNIGLOT = "omniglot"


class FewShotConfig(Config):
    """How questions are asked."""

    selection: Literal["random", "same", "nearest", "fixed"] = "random"
    """Of examples; see selection.py."""
    fixed: Path | None = None
    """A file of ids, one a line, for "fixed"."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Scores are means over draws of examples by each of these, all different."""
    num_questions: PositiveInt | None = None
    """So many of the questions, the same ones every time; all where None."""
    text_only: bool = False
    """Examples without their pictures: Flamingo's "0 shots" has two of them."""
    last_in_sub_images: NonNegativeInt | None = None
    """Of so many of the last examples the pictures are cut into sub-images; earlier ones are one image each."""
    reasoning: bool = False
    """Chain of thought."""
    ways: PositiveInt = 5
    """Classes of an Omniglot episode."""

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("the same seed draws the same examples: give different ones")
        return seeds


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark."""

    read: Callable[[Folder], Material]
    template: Template
    metric: Metric
    tidy: Callable[[str], str] = str.strip
    choose: bool = False
    """Whether the most likely choice is the answer, instead of what is generated."""


BENCHMARKS = {
    "coco_captions": Benchmark(read=captions.coco_karpathy, template=CAPTION, metric=cider),
    "coco_captions_val": Benchmark(read=captions.coco_plain, template=CAPTION, metric=cider),
    "nocaps": Benchmark(read=captions.nocaps, template=CAPTION, metric=cider),
    "textcaps": Benchmark(read=captions.textcaps, template=CAPTION, metric=cider),
    "vqav2": Benchmark(read=vqa.vqav2, template=SHORT_ANSWER, metric=vqa_accuracy, tidy=short_answer),
    "ok_vqa": Benchmark(read=vqa.ok_vqa, template=SHORT_ANSWER, metric=vqa_accuracy),
    "textvqa": Benchmark(read=vqa.textvqa, template=SHORT_ANSWER, metric=vqa_accuracy, tidy=short_answer),
    "vizwiz": Benchmark(read=vqa.vizwiz, template=SHORT_ANSWER, metric=vqa_accuracy, tidy=short_answer),
    "gqa": Benchmark(read=vqa.gqa, template=SHORT_ANSWER, metric=exact_match, tidy=short_answer),
    "captions": Benchmark(read=jsonl.captions, template=CAPTION, metric=cider),
    "vqa": Benchmark(read=jsonl.vqa, template=SHORT_ANSWER, metric=vqa_accuracy, tidy=short_answer),
    "vqa_exact": Benchmark(read=jsonl.vqa, template=SHORT_ANSWER, metric=exact_match, tidy=short_answer),
    "vqa_anls": Benchmark(read=jsonl.vqa, template=CHOICE, metric=anls),
    "vqa_relaxed": Benchmark(read=jsonl.vqa, template=CHOICE, metric=relaxed_accuracy),
    "multiple_choice": Benchmark(read=jsonl.multiple_choice, template=CHOICE, metric=exact_match, choose=True),
    "classification": Benchmark(read=jsonl.classification, template=LABEL, metric=exact_match, choose=True),
}

NAMES = (*BENCHMARKS, OMNIGLOT, *CHATS)

Nearest: TypeAlias = Callable[[str, Sequence[Row], Pictures], Selection]
"""Makes the selection of nearest pictures, for a task's name, from its pool."""


def build_tasks(specs: Sequence[tuple[str, Path]], config: FewShotConfig, nearest: Nearest | None = None) -> list[Task]:
    """A task for each (name, folder).

    Raises:
        UserError: an unknown name, files that are missing or of another kind, settings that do not go together.
    """
    if (config.selection == "fixed") != (config.fixed is not None):
        raise UserError(
            "fixed examples need a file of ids, and such a file is for fixed examples: give both or neither"
        )
    return [_task(name, folder, config, nearest) for name, folder in specs]


def _task(name: str, path: Path, config: FewShotConfig, nearest: Nearest | None) -> Task:
    if name == OMNIGLOT:
        if config != FewShotConfig(seeds=config.seeds, num_questions=config.num_questions, ways=config.ways):
            raise UserError("omniglot's examples are drawn by class, with their pictures: leave the other settings out")
        return omniglot_task(
            f"{name}-{config.ways}way", Folder(path), config.ways, config.num_questions or 1000, config.seeds
        )
    if name in CHATS:
        if config != FewShotConfig(seeds=config.seeds, num_questions=config.num_questions):
            raise UserError(f"'{name}' is asked as in a chat, without examples: leave the settings of examples out")
        return instruct_task(name, path, config.num_questions)
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark is named '{name}': there are {', '.join(NAMES)}")
    benchmark, folder = BENCHMARKS[name], Folder(path)
    material = benchmark.read(folder)
    of_one_file = material.pool is material.questions
    if benchmark.metric is vqa_accuracy:
        material = _answered_by_many(material)
    if config.reasoning:
        benchmark, material = _reasoned(name, benchmark, material)
    pictures = Pictures(folder)
    selection = _selection(name, material.pool, pictures, config, nearest)
    rows = _limited(material.questions, config.num_questions)
    if not rows:
        left_out = ", ".join(f"{count} with '{reason}'" for reason, count in material.missing.items()) or "none at all"
        raise UserError(f"{material.files[0]} has no question that can be asked ({left_out}): is it another file?")
    template = benchmark.template
    return FewShotTask(
        name="-".join([name, *_variant(config)]),
        episodes=tuple(key(row, template, benchmark.choose) for row in rows),
        metric=benchmark.metric,
        mode="choose" if benchmark.choose else "generate",
        stop=template.stop,
        max_new_tokens=template.max_new_tokens,
        tidy=material.tidy or benchmark.tidy,
        seeds=config.seeds if selection.seeds_matter else config.seeds[:1],
        missing=material.missing,
        conditions=_conditions(material, benchmark, config),
        rows=rows,
        pool=material.pool,
        num_examples=len(selection.ids) if isinstance(selection, Fixed) else len(material.pool) - of_one_file,
        pictures=pictures,
        template=template,
        selection=selection,
        text_only=config.text_only,
        last_in_sub_images=config.last_in_sub_images,
    )


def _variant(config: FewShotConfig) -> list[str]:
    """What tells a task from the paper's way of asking."""
    named = {
        config.selection: config.selection != "random",
        "text_only": config.text_only,
        f"last{config.last_in_sub_images}": config.last_in_sub_images is not None,
        "reasoning": config.reasoning,
    }
    return [name for name, differs in named.items() if differs]


FEWEST_ANSWERS = 4
"""With fewer people's answers, even the one that all gave has a VQA accuracy below 1: one is left out, three agree."""


def _answered_by_many(material: Material) -> Material:
    """Without the questions that VQA accuracy is not made for."""
    fit = tuple(row for row in material.questions if len(row.answers) >= FEWEST_ANSWERS)
    if len(fit) == len(material.questions):
        return material
    reason = f"fewer than {FEWEST_ANSWERS} answers, which suits exact match"
    missing = {**material.missing, reason: len(material.questions) - len(fit)}
    return replace(material, questions=fit, missing=missing)


def _reasoned(name: str, benchmark: Benchmark, material: Material) -> tuple[Benchmark, Material]:
    """The benchmark with chain of thought: examples are rows with a rationale, choices are told in the question."""
    if "{question}" not in benchmark.template.prompt:
        raise UserError(f"'{name}' asks no question that could be reasoned about: leave reasoning out")

    def told(row: Row) -> Row:
        return replace(row, question=f"{row.question} Choices: {', '.join(row.choices)}.") if row.choices else row

    questions, pool = tuple(map(told, material.questions)), tuple(told(row) for row in material.pool if row.rationale)
    tidy = material.tidy
    final = (lambda output: tidy(reasoned_answer(output))) if tidy else reasoned_answer
    reasoned = replace(benchmark, template=REASONED, tidy=reasoned_answer, choose=False)
    return reasoned, replace(material, questions=questions, pool=pool, tidy=final)


def _selection(
    name: str, pool: Sequence[Row], pictures: Pictures, config: FewShotConfig, nearest: Nearest | None
) -> Selection:
    if config.selection == "nearest":
        if nearest is None:
            raise UserError("nearest examples need a model that can tell how alike pictures are: draw them by seed")
        return nearest(name, pool, pictures)
    if config.fixed is not None:
        return Fixed(Fixed.read(config.fixed), pool, pictures)
    return Drawn(pool, pictures, common=config.selection == "same")


def _limited(rows: tuple[Row, ...], num_questions: int | None) -> tuple[Row, ...]:
    if num_questions is None or num_questions >= len(rows):
        return rows
    return tuple(rows[number] for number in sorted(random.Random(0).sample(range(len(rows)), num_questions)))


def _conditions(material: Material, benchmark: Benchmark, config: FewShotConfig) -> dict[str, object]:
    asked = config.model_dump(mode="json", exclude={"ways", "seeds"})
    files = material.files if config.fixed is None else (*material.files, config.fixed)
    return {"split": material.split, "files": digests(files), "template": asdict(benchmark.template), **asked}
