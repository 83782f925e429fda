"""What is typed after `mm1 curate`: sources to curate, or one of its own commands as the first word."""

from __future__ import annotations

import argparse

from mm1.cli.options import path
from mm1.cli.questions_parser import add_computing


def add_curate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`mm1 curate SOURCES…`. Its own commands are named with both words: `commands.add_parser("curate recaption")`."""
    curate = commands.add_parser("curate", help="make documents, caption pairs and text of web pages; goes on")
    curate.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE|key.path=value",
        help="WARC files, folders of HTML, tables of HTML, lists of addresses; and changes to the rules",
    )
    curate.add_argument("--out", type=path, required=True, help="the folder of the sets")
    curate.add_argument("--profile", choices=["mm1", "obelics"], default="mm1", help="whose rules (mm1)")
    curate.add_argument("--languages", metavar="CODE,…", help="of texts and captions, as en,de; all takes any (en)")
    curate.add_argument(
        "--keep-out",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="evaluation images and questions, as files or folders: no set has them",
    )
    curate.add_argument("--offline", action="store_true", help="fetch nothing: only what is at hand")
    curate.add_argument("--processes", type=int, help="at a time (the number of CPUs, here or of the cluster)")
    curate.add_argument("--ray", metavar="ADDRESS", help="work on that Ray cluster, or on a Ray of its own: local")
    curate.add_argument("--memory", default="4GB", metavar="SIZE", help="for what is counted over the whole set (4GB)")
    curate.set_defaults(overrides=[])
    _add_train_quality(commands)
    _add_recaption(commands)


def _add_train_quality(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("curate train-quality", help="train the judges of text quality for `mm1 curate`")
    train.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to how they are trained")
    train.add_argument("--good", nargs="+", required=True, metavar="PATH", help="texts as one would like them")
    train.add_argument("--raw", nargs="+", default=[], metavar="PATH", help="texts as they come; else no classifier")
    train.add_argument("--out", type=path, required=True, help="the folder of the judges")


def _add_recaption(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    new = commands.add_parser("curate recaption", help="have models write captions of a set of pairs; goes on")
    new.add_argument("captions", nargs="+", type=path, metavar="CAPTIONS", help="files or folders of pairs")
    new.add_argument("--out", type=path, required=True, help="the folder of the set that comes out")
    for role, does in (("captioner", "tells what an image shows"), ("fuser", "merges that with the page's own text")):
        group = new.add_argument_group(role, f"the model that {does}")
        group.add_argument(f"--{role}", type=path, metavar="CHECKPOINT", help="a checkpoint or a run folder")
        group.add_argument(f"--{role}-address", metavar="URL", help="or a server's, as http://localhost:8000/v1")
        group.add_argument(f"--{role}-model", metavar="NAME", help="the model's name there")
        group.add_argument(
            f"--{role}-key-file", type=path, metavar="FILE", help="holds the key, if the server wants one"
        )
        group.add_argument(f"--{role}-prompt", type=path, metavar="FILE", help="what it is told, instead of our words")
    new.add_argument("--share", type=float, default=0.5, help="of documents with the synthetic caption as text (0.5)")
    new.add_argument("--max-words", type=int, default=80, metavar="N", help="longer answers are not used (80)")
    new.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="of an answer (128)")
    new.add_argument("--again", action="store_true", help="ask again what failed before")
    servers = new.add_argument_group("servers")
    servers.add_argument("--rate", type=float, metavar="N", help="requests a second, at most, to each (no limit)")
    servers.add_argument("--at-once", type=int, default=8, metavar="N", help="requests on their way (8)")
    servers.add_argument("--max-side", type=int, default=768, metavar="PIXELS", help="of a picture that is sent (768)")
    servers.add_argument("--retries", type=int, default=4, metavar="N", help="of a request, each later (4)")
    servers.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="of a request (120)")
    here = new.add_argument_group("checkpoints")
    here.add_argument("--batch", type=int, default=64, metavar="N", help="questions answered at once (64)")
    here.add_argument("--max-len", type=int, default=8192, metavar="N", help="longest question with its answer (8192)")
    add_computing(here)
