"""The arguments of the commands that ask a model: eval, chat, generate, textcore, judge, and score."""

from __future__ import annotations

import argparse

from mm1.cli.options import path


def add_questions(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands, with their arguments."""
    for add in (_evaluate, _chat, _generate, _textcore, _judge, _score):
        add(commands)


def add_computing(command: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Where a model computes, and in what."""
    command.add_argument("--device", help="cpu or cuda; cuda where there is one")
    command.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="bfloat16: half the memory, other rounding"
    )


def _add_model(command: argparse.ArgumentParser, longest: str) -> None:
    """A model of a checkpoint or a run, and how it computes; `longest` is what --max-len limits."""
    command.add_argument("checkpoint", type=path, help="a checkpoint or a run folder")
    command.add_argument("--stage", help="of a run: whose model (the last stage's)")
    command.add_argument("--max-len", type=int, default=8192, metavar="N", help=f"longest {longest} (8192)")
    add_computing(command)


def _evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("eval", help="ask a model: a run's tasks again, or benchmarks from their files")
    evaluate.add_argument("run", type=path, help="a finished run folder; for benchmarks, a checkpoint as well")
    evaluate.add_argument(
        "--tasks", metavar="NAME[:FOLDER],…", help="a run's tasks by name (all), benchmarks with their folders"
    )
    evaluate.add_argument("--shots", help="comma-separated numbers of shots (the recipe's; benchmarks: 0,4,8)")
    evaluate.add_argument("--episodes", type=int, metavar="N", help="questions a task (the recipe's; benchmarks: all)")
    evaluate.add_argument("--out", type=path, help="where results go (RUN/evaluations)")
    few = evaluate.add_argument_group("benchmarks")
    few.add_argument("--stage", help="of a run: whose model (the last stage's)")
    few.add_argument("--seeds", default="0", help="examples are drawn by each of these; scores are means (0)")
    few.add_argument(
        "--examples",
        default="random",
        metavar="HOW",
        help="random, same (for all), nearest, fixed:FILE of ids",
    )
    few.add_argument("--text-only", action="store_true", help="examples without their pictures")
    few.add_argument("--last-in-sub-images", type=int, metavar="N", help="earlier examples' pictures are not cut")
    few.add_argument("--reasoning", action="store_true", help="chain of thought, the answer taken from its end")
    few.add_argument("--ways", type=int, default=5, metavar="N", help="classes of an omniglot episode (5)")
    few.add_argument("--baseline", type=path, metavar="FOLDER", help="another's results: also print the mean of ratios")
    few.add_argument("--blind", action="store_true", help="ask also with other questions' pictures")
    few.add_argument("--max-len", type=int, metavar="N", help="longest prompt (what the run trained with, or 8192)")
    add_computing(evaluate)


def _chat(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    chat = commands.add_parser("chat", help="talk to a run's model")
    chat.add_argument("run", type=path, help="a finished run folder")
    chat.add_argument("--image", type=path, help="a picture to talk about")
    chat.add_argument("--stage", help="whose model answers (the last stage's)")
    chat.add_argument("--max-len", type=int, default=8192, metavar="N", help="longest conversation (8192)")
    add_computing(chat)


def _generate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    new = commands.add_parser("generate", help="continue every document of a file; goes on where it was")
    _add_model(new, "document with its text")
    new.add_argument("documents", type=path, metavar="DOCUMENTS.jsonl", help='JSONL: {"id", "segments": […]} a line')
    new.add_argument("--out", type=path, required=True, metavar="OUT.jsonl", help="a line a document, in their order")
    new.add_argument("--max-new-tokens", type=int, metavar="N", help="of a text (128)")
    new.add_argument("--stop", action="append", metavar="TEXT", help=r"a text ends before it (\n, \t); may be repeated")
    new.add_argument("--stop-token", action="append", type=int, metavar="ID", help="likewise, a token's id")
    new.add_argument("--temperature", type=float, help="0 takes the likeliest token, 1 draws as the model says (0)")
    new.add_argument("--top-k", type=int, metavar="K", help="draw among the K likeliest")
    new.add_argument("--top-p", type=float, metavar="P", help="draw among the fewest that reach this probability")
    new.add_argument("--min-p", type=float, metavar="P", help="draw among those at least P as likely as the likeliest")
    new.add_argument("--seed", type=int, help="of what is drawn (0)")
    new.add_argument("--logprobs", action="store_true", help="also write each token's id and log-probability")
    new.add_argument("--batch", type=int, metavar="N", help="documents read and answered at once (64)")


def _textcore(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    textcore = commands.add_parser("textcore", help="ask the paper's text tasks through lm-eval, from local files")
    _add_model(textcore, "question with answer")
    textcore.add_argument("tasks", type=path, metavar="FOLDER", help="a folder a task, as arc_easy/test.jsonl")
    textcore.add_argument("--out", type=path, required=True, metavar="OUT.json", help="scores as JSON")
    textcore.add_argument("--shots", type=int, default=0, help="examples, where a task has a file train (0)")
    textcore.add_argument("--limit", type=int, metavar="N", help="questions a task; all by default")


def _judge(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    judge = commands.add_parser("judge", help="have free answers marked by a model behind an OpenAI-style address")
    _add_model(judge, "question with answer")
    judge.add_argument("benchmark", choices=["llava_bench", "mm_vet"])
    judge.add_argument("folder", type=path, help="the benchmark's files, as published")
    judge.add_argument("--judge", required=True, metavar="URL", help="as http://localhost:8000/v1")
    judge.add_argument("--judge-model", required=True, metavar="NAME", help="the judge's name there")
    judge.add_argument("--judge-key-file", type=path, metavar="FILE", help="holds the key, if the server wants one")
    judge.add_argument("--judge-prompt", type=path, metavar="FILE", help="what the judge is told, instead of our words")
    judge.add_argument("--out", type=path, required=True, metavar="OUT.json", help="scores; verdicts go to OUT.jsonl")


def _score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    score = commands.add_parser("score", help="score a file of answers as the official scorers do")
    score.add_argument("what", choices=["captions", "vqa"])
    score.add_argument("file", type=path, help='JSON: {"references": {id: [text, …]}, "candidates": {id: text}}')
    score.add_argument("--out", type=path, help="also write the scores as JSON to this file")
