"""What a checkpoint remembers of the Hugging Face folder that its decoder came from, so that it can go back unchanged.

    tokenizer_config.json of a checkpoint:
        {"eos_token": "</s>", …, "source": {"added_tokens": {"<|image|>": 32000}, "files": {"config.json": "{…"}}}

It stands where the special tokens' names stand, because that file follows the tokenizer through every stage of
training. Knows nothing of tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mm1.config import Config, UserError, from_json
from mm1.data.tokenizer import TOKENIZER_CONFIG
from mm1.hf.folder import parse_json, read_json

SOURCE = "source"
KEPT = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)
"""Files of the folder that are small and can not be told from the model. Their text is kept, whole."""


class Source(Config):
    """The folder that `mm1 import` read."""

    added_tokens: dict[str, int]
    """Tokens that mm1 needed and the tokenizer did not have, with their new ids."""
    files: dict[str, str]
    """Of KEPT, those that were there: name → text."""

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json."""
        return parse_json(self.files["config.json"], "the imported config.json")


def remember(folder: Path, added_tokens: dict[str, int]) -> Source:
    """The record of a Hugging Face folder.

    Raises:
        UserError: one of its small files is no text, or is no JSON though it should be.
    """
    files: dict[str, str] = {}
    for path in (folder / name for name in KEPT):
        if not path.is_file():
            continue
        try:
            # Bytes, because reading text would turn \r\n into \n.
            files[path.name] = path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 ({error}): copy it again") from None
        if path.suffix == ".json":  # what is exported must open in transformers
            parse_json(files[path.name], str(path))
    return Source(added_tokens=added_tokens, files=files)


def recall(checkpoint: Path) -> Source | None:
    """The record in a checkpoint's folder; None where its decoder was not imported.

    Raises:
        UserError: the record is damaged.
    """
    path = checkpoint / TOKENIZER_CONFIG
    if not path.is_file():
        return None
    values = read_json(path).get(SOURCE)
    if values is None:
        return None
    source = from_json(Source, values, f"{path}, {SOURCE}")
    unknown = sorted(set(source.files) - set(KEPT))
    if unknown or "config.json" not in source.files:
        what = f"a file {unknown[0]!r} that mm1 does not keep" if unknown else "no config.json"
        raise UserError(f"{path} has {what} in its {SOURCE}: import the model again")
    parse_json(source.files["config.json"], f"config.json in {path}, {SOURCE}")
    return source
