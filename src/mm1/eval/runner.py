"""Runs a model over tasks and shot counts, and keeps everything that a reader needs to check a score.

    folder/shapes-4shot.json            the score, its interval, chance, scores by kind and seed: written last
    folder/shapes-4shot.samples.jsonl   each question: prompt, raw output, extracted answer, score
    folder/images/3f2a….png             the images of the first samples, named by their content
    folder/blind/…                      the same for a blind run

A result that is there for the same question is read back instead of computed, and an interrupted one goes on from the
answers that it has. Where only the code that scores has changed, what the model said is scored again and nothing asked.
Blind runs give every prompt another episode's images: what a model still scores there it did not
see. Knows nothing of how a model answers, nor of which tasks a recipe runs.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean
from typing import Any

from mm1.config import UserError, fingerprint
from mm1.distributed.collectives import wait_for_all
from mm1.distributed.mesh import World
from mm1.eval.asking import TOO_LONG, Answer, Asking, Progress
from mm1.eval.episodes import exchange
from mm1.eval.kept import kept_answers
from mm1.eval.model import EvalModel
from mm1.eval.provenance import answering_version, code_version, scoring_version
from mm1.eval.results import Result, finished, summarise, write_result
from mm1.eval.tasks import ItemScore, Task

ALONE = World()


def evaluate(
    model: EvalModel,
    tasks: Sequence[Task],
    shots: Sequence[int],
    folder: Path,
    seed: int = 0,
    *,
    model_name: str = "",
    max_len: int | None = None,
    blind: bool = False,
    world: World = ALONE,
    progress: Progress | None = None,
    chunk: int = 64,
    pictured: int = 24,
) -> list[Result]:
    """Evaluates every task with every number of shots into `folder` (`folder/blind` for blind runs).

    Args:
        model: answers prompts; see mm1.eval.model.
        tasks: their names have to differ.
        shots: how many of its shots each episode's prompt gets; each episode needs as many.
        folder: made if it is not there; results standing in it are kept if they answer the same question.
        seed: of the intervals and of the blind runs' exchange of images.
        model_name: what tells this model from another that was evaluated into the same folder.
        max_len: the model's longest prompt, where there is one: by it shots are dropped, so results tell it.
        blind: whether prompts get the images of other episodes.
        world: the processes that share the work; all of them call this, with the same arguments and a common folder.
        progress: called after every `chunk` questions, in the first process.
        chunk: questions handed to the model at once.
        pictured: samples whose images are written as files.

    Raises:
        UserError: two tasks of one name, an episode with too few shots, a blind run without images to exchange, or a
            task of which not one question could be asked.
    """
    if len(set(names := [task.name for task in tasks])) != len(names):
        raise UserError(f"tasks have to have different names, these are {names}: rename the repeated ones")
    folder = folder / "blind" if blind else folder
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        for number in shots:
            task.check_shots(number)
            if blind:
                exchange([task.has_images(n, number) for n in range(len(task.episodes))], seed)
    results = []
    for task in tasks:
        identity, examples = task.identity(), task.examples_identity() if any(shots) else ""
        for k in shots:
            question = [identity, examples if k else "", k, seed, blind, model_name, max_len]
            digest = fingerprint([*question, answering_version()])
            path = folder / f"{task.name}-{k}shot.json"
            asking = Asking(
                model=model, task=task, shots=k, seed=seed, blind=blind, folder=folder, chunk=chunk, pictured=pictured,
                journal=folder / ".asked" / f"{task.name}-{k}shot-{digest[:16]}",
            )  # fmt: skip
            whole = fingerprint([digest, [f.name for f in fields(Result)], scoring_version()])
            about = {"blind": blind, "seed": seed, "model": model_name, "asked": digest, "fingerprint": whole}
            conditions = {**task.conditions, **({} if max_len is None else {"max_len": max_len})}
            results.append(_result(asking, path, {**about, "conditions": conditions}, world, progress))
    return results


def _result(asking: Asking, path: Path, about: Mapping[str, Any], world: World, progress: Progress | None) -> Result:
    """The result that stands at `path`, or a new one; written by the first process, returned to all."""
    result = finished(path, about["fingerprint"])
    kept = kept_answers(path, about["asked"], asking.task, asking.seeds) if result is None else None
    wait_for_all()  # or the first process may write it while another still looks
    if result is not None:
        return result
    began = time.monotonic()
    result, samples = _score(asking, kept or asking.answers(world, progress), about, began)
    if world.is_first:
        write_result(result, samples, path)
        if kept is None:
            asking.forget()
    wait_for_all()
    return result


def _score(
    asking: Asking, answers: Sequence[Answer], about: Mapping[str, Any], began: float
) -> tuple[Result, list[str]]:
    """The result, and its samples: a line of JSON for each answer."""
    task = asking.task
    gone = {answer.number: answer.missing for answer in answers if answer.missing}
    numbers = [number for number in range(len(task.episodes)) if number not in gone]
    missing = dict(Counter(task.missing) + Counter(gone.values()))
    if not numbers:
        reasons = ", ".join(f"{count} with '{reason}'" for reason, count in missing.items())
        advice = "raise the limit (--max-len)" if set(gone.values()) == {TOO_LONG} else "look at its files"
        raise UserError(f"no question of task '{task.name}' could be asked: {reasons}; {advice}")
    episodes = [task.episodes[number] for number in numbers]
    items: dict[int, list[ItemScore]] = {}
    figures: dict[str, dict[str, float]] = {}
    samples: list[str] = []
    for seed in asking.seeds:
        mine = [answer for answer in answers if answer.seed == seed and answer.number not in gone]
        assert [answer.number for answer in mine] == numbers, f"answers of task '{task.name}' are not its questions"
        readings = [task.reading(answer.output, answer.number) for answer in mine]
        items[seed] = task.metric(readings, episodes)
        figures[str(seed)] = task.figures(readings, numbers)
        samples += [_sample(asking, answer, item) for answer, item in zip(mine, items[seed], strict=True)]
    result = Result(
        task=task.name,
        shots=asking.shots,
        missing=missing,
        shortened=sum(answer.dropped_shots > 0 for answer in answers),
        metric=task.metric.__name__,
        mode=task.mode,
        figures={name: fmean(of_one[name] for of_one in figures.values()) for name in figures[str(asking.seeds[0])]},
        version=code_version(),
        seconds=time.monotonic() - began,
        **summarise(items, about["seed"]),
        **about,
    )
    return result, samples


def _sample(asking: Asking, answer: Answer, item: ItemScore) -> str:
    episode = asking.task.episodes[answer.number]
    sample = {
        "id": episode.id,
        "kind": episode.kind,
        "shots": asking.shots,
        "seed": answer.seed,
        "prompt": answer.prompt,
        "examples": answer.examples,
        "shot_ids": answer.shot_ids,
        "dropped_shots": answer.dropped_shots,
        "images": answer.images,
        "image_sha256": answer.image_sha256,
        "output": answer.output,
        "answer": asking.task.reading(answer.output, answer.number),
        "references": episode.references,
        "required": [attribute.words for attribute in episode.required],
        "candidates": episode.candidates,
        "score": item.score,
    }
    return json.dumps(sample, ensure_ascii=False) + "\n"
