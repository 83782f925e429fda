"""What is typed after `mm1 curate`: sources to curate, or one of its own commands as the first word."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_curate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`mm1 curate SOURCES…`. Its own commands are named with both words: `commands.add_parser("curate recaption")`."""
    curate = commands.add_parser("curate", help="make documents, caption pairs and text of web pages; goes on")
    curate.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE|key.path=value",
        help="WARC files, folders of HTML, tables of HTML, lists of addresses; and changes to the rules",
    )
    curate.add_argument("--out", type=Path, required=True, help="the folder of the sets")
    curate.add_argument("--profile", choices=["mm1", "obelics"], default="mm1", help="whose rules (mm1)")
    curate.add_argument("--languages", metavar="CODE,…", help="of texts and captions, as en,de; all takes any (en)")
    curate.add_argument("--offline", action="store_true", help="fetch nothing: only what is at hand")
    curate.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at a time (the number of CPUs)")
    curate.add_argument("--ray", metavar="ADDRESS", help="work on that Ray cluster, or on a Ray of its own: local")
    curate.add_argument("--memory", default="4GB", metavar="SIZE", help="for what is counted over the whole set (4GB)")
    curate.set_defaults(overrides=[])
    _add_train_quality(commands)


def _add_train_quality(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("curate train-quality", help="train the judges of text quality for `mm1 curate`")
    train.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to how they are trained")
    train.add_argument("--good", nargs="+", required=True, metavar="PATH", help="texts as one would like them")
    train.add_argument("--raw", nargs="+", default=[], metavar="PATH", help="texts as they come; else no classifier")
    train.add_argument("--out", type=Path, required=True, help="the folder of the judges")
