"""What commands have to see of their options before hours of work.

    check_out(Path("none/scores.json"))     # UserError("--out is none/scores.json, but there is no folder none: …")

Knows no command, and loads nothing heavy.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from mm1.config import Config, ConfigError, UserError, describe

C = TypeVar("C", bound=Config)

MOST = 10**9
"""Of what is counted: more is a slip of the hand."""


def from_options(cls: type[C], asked: Mapping[str, Any], others: Mapping[str, str] = MappingProxyType({})) -> C:
    """The config that the options of a command ask for.

    Args:
        cls: the config.
        asked: its values, as they were typed.
        others: options that have another name than the last word of the key that they set.

    Raises:
        ConfigError: a value that does not fit; its option is named.
    """

    def option(path: str) -> str:
        return others.get(path) or "--" + path.rpartition(".")[2].replace("_", "-")

    try:
        return cls.model_validate(asked)
    except ValidationError as error:
        raise ConfigError(describe(error, values=asked, named=option)) from None


def path(text: str) -> Path:
    """What is typed for a path. Nothing, as of a variable of the shell that is not set, is not the folder one is in.

    Raises:
        ArgumentTypeError: there is nothing.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty: give one, or leave the option out")
    return Path(text)


def prompt_of(path: Path | None, option: str) -> str | None:
    """The words in a prompt's file; None where none was named.

    Raises:
        UserError: it holds nothing, or no text.
    """
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise UserError(f"{option} is {path}, which is no text in UTF-8: write it anew") from None
    if not text:
        raise UserError(f"{option} is {path}, which is empty: write the prompt into it")
    return text


def check_out(out: Path | None) -> None:
    """Refuses a file --out that can not be written; None, for what was not typed, passes.

    Raises:
        UserError: it lies in no folder that is there, or is a folder.
    """
    if out is not None and out.is_dir():
        raise UserError(f"--out is {out}, which is a folder: name a file in it")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out is {out}, but there is no folder {out.parent}: make it first")


def check_out_folder(out: Path) -> None:
    """Refuses a folder --out that can not be made.

    Raises:
        UserError: a file stands there, or above.
    """
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"--out is {out}, but {place} is a file: name a folder")


def at_least(least: int, most: int = MOST, /, **numbers: int | None) -> None:
    """Refuses a number below `least` or above `most`; None, for what was not typed, passes.

    Raises:
        UserError: naming the option.
    """
    for option, number in numbers.items():
        if number is not None and number < least:
            raise UserError(f"{option} is {number}: give at least {least}")
        if number is not None and number > most:
            raise UserError(f"{option} is {number}: give at most {most}")
