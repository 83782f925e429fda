"""Parses the command line and calls the command."""

from __future__ import annotations

import argparse
import errno
import importlib
import keyword
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from mm1 import __version__
from mm1.cli.bench_parser import add_bench
from mm1.cli.curate_parser import add_curate
from mm1.cli.options import path
from mm1.cli.plan_parser import add_plan
from mm1.cli.questions_parser import add_questions
from mm1.config import UserError
from mm1.distributed.lost import EX_UNAVAILABLE, RankLost

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
"""What a shell gives to a program that SIGINT ended."""
MODULES = {
    **dict.fromkeys(("import", "export", "upcycle"), "hf_commands"),
    **{name: f"{name}_commands" for name in ("bench", "curate", "eval", "generate", "judge", "plan", "score")},
    "textcore": "textcore_commands",
    "curate recaption": "recaption_commands",  # needs torch, which no other command of curation loads
}
"""Where a command's function is, if not in commands.py."""
EXTRAS = {
    **dict.fromkeys(("aiohttp", "daft", "fastwarc", "idna", "kenlm", "selectolax", "yarl"), "curate"),
    "lm_eval": "eval",
    "ray": "ray",
    "transformers": "hf",
}
"""The extra with which a package comes that mm1 imports and does not install."""
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, or give a path elsewhere"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "give a path that you may use"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "it is no folder: give a path where none but folders stand"),
    errno.EISDIR: "give a file instead",
    errno.ENOENT: "give a path that is there",
}
"""What to do about an error of the system, by its number."""
TRACKERS = ("tensorboard", "wandb")
Command: TypeAlias = Callable[[argparse.Namespace], "int | None"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `mm1 ARGUMENTS` and returns the exit code."""
    parsed = _parse(arguments)
    try:
        code = _command(parsed.command)(parsed)
    except (UserError, RankLost) as error:
        if parsed.debug:
            raise
        print(f"mm1: {error}", file=sys.stderr)
        return EX_UNAVAILABLE if isinstance(error, RankLost) else EXIT_USER_ERROR
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if parsed.debug or package not in EXTRAS:
            raise
        extra = f"pip install 'mm1[{EXTRAS[package]}]'"
        print(f"mm1: `mm1 {parsed.command}` needs {package}, which is not installed: {extra}", file=sys.stderr)
        return EXIT_USER_ERROR
    except BrokenPipeError:  # `mm1 show tiny --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end
        return 0
    except OSError as error:  # a file where a folder should be, no permission, no room
        if parsed.debug:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
        advice = ADVICE.get(error.errno or 0, "give a path that can be used")
        print(f"mm1: {what}; {advice} (--debug shows where)", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("mm1: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code or 0


def _command(name: str) -> Command:
    """The function of a command. It is imported only when called, so that `mm1 --help` answers at once."""
    place = MODULES.get(name) or MODULES.get(name.partition(" ")[0], "commands")
    module = importlib.import_module(f"mm1.cli.{place}")
    command: Command = getattr(
        module, f"{name}_" if keyword.iskeyword(name) else name.replace(" ", "_").replace("-", "_")
    )
    return command


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """As argparse does, and overrides may also stand after options: `mm1 show tiny --json seed=1`."""
    root = parser()
    parsed, rest = root.parse_known_args(_joined(sys.argv[1:] if arguments is None else arguments, root))
    if rest and (not hasattr(parsed, "overrides") or any(word.startswith("-") for word in rest)):
        root.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides += rest
    return parsed


def _joined(arguments: Sequence[str], root: argparse.ArgumentParser) -> list[str]:
    """The arguments, a command of two words (`mm1 curate recaption …`) as one, which is how its parser is called."""
    words = list(arguments)
    place = next((number for number, word in enumerate(words) if not word.startswith("-")), len(words))
    two = " ".join(words[place : place + 2])
    commands = next(action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    return [*words[:place], two, *words[place + 2 :]] if " " in two and two in commands.choices else words


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    root = argparse.ArgumentParser(prog="mm1", description="Train and evaluate multimodal language models.")
    root.add_argument("--version", action="version", version=f"mm1 {__version__}")
    root.add_argument("--debug", action="store_true", help="show a traceback where a mistake is reported")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run all stages of a recipe; finished ones are skipped")
    _recipe(run)
    run.add_argument("--out", type=path, help="the run folder (runs/RECIPE)")
    run.add_argument("--smoke", action="store_true", help="shrink every stage to seconds, to see that all is in place")
    run.add_argument("--track", choices=TRACKERS, help="also send the log of every stage there")

    train = commands.add_parser("train", help="run one training stage of a recipe (under torchrun for more processes)")
    _recipe(train)
    train.add_argument("--stage", required=True, help="encoder, language, pretrain or sft")
    train.add_argument("--out", type=path, help="the run folder (runs/RECIPE); its earlier stages must be finished")
    train.add_argument("--smoke", action="store_true", help="as in `mm1 run`")
    train.add_argument("--profile", action="store_true", help="also write a trace of a few steps, for ui.perfetto.dev")
    train.add_argument("--track", choices=TRACKERS, help="also send the log there")

    add_questions(commands)

    show = commands.add_parser("show", help="what a recipe is: configuration, mixture, parameters by part")
    _recipe(show)
    show.add_argument("--run", type=path, help="the run folder whose prepared sources are looked at (runs/RECIPE)")
    show.add_argument("--json", action="store_true", help="the same as one JSON object")

    diff = commands.add_parser("diff", help="how two recipes differ, leaf by leaf")
    diff.add_argument("a", help="a recipe")
    diff.add_argument("b", help="another")

    report = commands.add_parser("report", help="write a run's HTML report again")
    report.add_argument("run", type=path, help="a run folder")

    ablate = commands.add_parser("ablate", help="run a study: variants of a recipe over several seeds, as a table")
    ablate.add_argument("study", help="a study, such as tiny-connectors")
    ablate.add_argument("--out", type=path, help="the study's folder (runs/ablations/STUDY)")
    ablate.add_argument("--jobs", type=int, default=1, help="variants at a time, one thread each")
    ablate.add_argument("--smoke", action="store_true", help="as in `mm1 run`")

    add_bench(commands)
    add_curate(commands)
    add_plan(commands)
    _prepare(commands)
    _conversions(commands)
    for command in commands.choices.values():  # `mm1 run tiny --debug` as well as `mm1 --debug run tiny`
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return root


def _prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prepare = commands.add_parser("prepare", help="make training shards of files that you have; goes on where it was")
    prepare.add_argument(
        "sources",
        nargs="+",
        metavar="[NAME=]PATH",
        help="files, or folders of them; unnamed sources have their format's",
    )
    prepare.add_argument("--out", type=path, required=True, help="the folder of the shards")
    prepare.add_argument("--format", help="of all sources; recognised where it is not given (a wrong one lists all)")
    prepare.add_argument("--images", type=path, help="the folder of pictures that files name (each file's own)")
    prepare.add_argument("--text", metavar="COLUMN", help="the column or key of the text or caption, if it is unusual")
    tokenizer = prepare.add_mutually_exclusive_group()
    tokenizer.add_argument("--tokenizer", type=path, metavar="FILE", help="a tokenizer.json")
    tokenizer.add_argument(
        "--vocab-size", type=int, default=32_000, metavar="N", help="train one of so many tokens (32,000)"
    )
    prepare.add_argument(
        "--tokenizer-documents", type=int, default=20_000, metavar="N", help="of each source, to train on (20,000)"
    )
    prepare.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at a time (the number of CPUs)")


def _conversions(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    new = commands.add_parser("import", help="make a checkpoint of Hugging Face folders: a decoder, an image encoder")
    new.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="changes to the model, as connector.depth=1"
    )
    new.add_argument(
        "--decoder", type=path, required=True, help="a folder with config.json, safetensors, tokenizer.json"
    )
    new.add_argument("--image-encoder", type=path, help="a folder with an image encoder; a text model without")
    new.add_argument("--connector", metavar="KIND", help="avg_pool, attention_pool or c_abstractor, with new weights")
    new.add_argument("--num-image-tokens", type=int, metavar="N", help="image tokens an image, a square number")
    new.add_argument("--image-size", type=int, help="side of the images in pixels (what the encoder was trained with)")
    new.add_argument("--seed", type=int, default=0, help="of the connector's weights")
    new.add_argument("--out", type=path, required=True, metavar="CHECKPOINT", help="the folder to write")

    export = commands.add_parser("export", help="make a Hugging Face folder of a checkpoint or of a stage of a run")
    export.add_argument("checkpoint", type=path, help="a checkpoint or a run folder")
    export.add_argument("folder", type=path, metavar="DIR", help="the folder to write")
    export.add_argument("--stage", help="of a run: whose model (the last stage's)")
    export.add_argument("--decoder-only", action="store_true", help="a plain Llama, Mistral, … without images")
    export.add_argument("--max-positions", type=int, help="context length to declare (what is known of it)")

    upcycle = commands.add_parser("upcycle", help="make a sparse checkpoint of a dense one: its MLPs become experts")
    upcycle.add_argument("checkpoint", type=path, help="a checkpoint or a run folder")
    upcycle.add_argument("--stage", help="of a run: whose model (the last stage's)")
    upcycle.add_argument("--num-experts", type=int, required=True, help="in each sparse layer")
    upcycle.add_argument("--top-k", type=int, default=2, help="experts a token is sent to")
    upcycle.add_argument("--every", type=int, default=2, help="how many layers lie from one sparse layer to the next")
    upcycle.add_argument("--seed", type=int, default=0, help="of the routers' weights")
    upcycle.add_argument("--out", type=path, required=True, metavar="CHECKPOINT", help="the folder to write")


def _recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a recipe's name, or FILE.py:FUNCTION")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the recipe")


if __name__ == "__main__":
    sys.exit(main())
