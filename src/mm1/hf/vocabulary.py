"""A Hugging Face tokenizer for mm1, and back: special tokens that were missing come in, and go out again.

    num_ids = adopt(folder, out)      # out/tokenizer.json with "<|pad|>" and "<|image|>", out/tokenizer_config.json
    restore(checkpoint, source, out)  # the files of `folder`, byte for byte

mm1 needs an end of text, a padding and an image token. What the folder's tokenizer lacks gets a new id: an id that has
a meaning is never given another, so that no text can become a placeholder. The entries are put into the file's text
and taken out of it, because writing JSON anew would change numbers and spacing. Knows nothing of models.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import processors

from mm1.config import UserError
from mm1.data.prefix import beginning, read_parts
from mm1.data.tokenizer import IMAGE, PAD, TOKENIZER_CONFIG, Tokenizer
from mm1.files import write_atomically
from mm1.hf.folder import HFFolder, read_json
from mm1.hf.source import SOURCE, Source, remember

TOKENIZER = "tokenizer.json"


def adopt(folder: HFFolder, out: Path) -> int:
    """Writes the tokenizer of `folder` into `out` as mm1 reads it; returns how many ids a vocabulary needs for it.

    Raises:
        UserError: there is no tokenizer.json, or no end-of-text token; or it is one that can not be extended,
            or whose way to begin texts is not known.
    """
    path = folder.path / TOKENIZER
    text, tokenizer = _open(path)
    beginning(read_parts(tokenizer), str(path))  # refused now rather than when the checkpoint is first used
    declared = _declared(folder.path)
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    eos = _eos(folder, declared, tokenizer)
    bos = _bos(path, tokenizer)
    unknown = [declared.get("unk_token"), getattr(tokenizer.model, "unk_token", None)]
    pad = declared.get("pad_token")
    # The id of an unknown or an end of text stands in texts: as padding it would have two meanings.
    if pad is None or pad not in ids or pad in (eos, bos, *unknown):
        pad = _free(PAD, ids)
    names = {"pad_token": pad, "image_token": _free(IMAGE, ids)}
    new = [name for name in names.values() if name not in ids]
    added = {name: 1 + max(ids.values()) + place for place, name in enumerate(new)}
    extended = _insert(path, text, added)
    _check_ids(path, extended, {**ids, **added})
    config = {"eos_token": eos, "bos_token": bos, **names, SOURCE: remember(folder.path, added).model_dump()}
    write_atomically(out / TOKENIZER, extended.encode())
    write_atomically(out / TOKENIZER_CONFIG, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
    return 1 + max({**ids, **added}.values())


def restore(checkpoint: Path, source: Source, out: Path) -> None:
    """Writes the imported folder's tokenizer and its other small files, config.json excepted, into `out`.

    Raises:
        UserError: the checkpoint's tokenizer.json is not the one that `adopt` wrote.
    """
    path = checkpoint / TOKENIZER
    text, _ = _open(path)
    write_atomically(out / TOKENIZER, _remove(path, text, source.added_tokens).encode())
    for name, content in source.files.items():
        if name != "config.json":
            write_atomically(out / name, content.encode())


def write_for_transformers(tokenizer: Tokenizer, max_positions: int, out: Path) -> None:
    """Writes a tokenizer that mm1 trained as AutoTokenizer reads it."""
    text, inner = _open(tokenizer.path)
    ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id, "pad_token": tokenizer.pad_id}
    names = {key: None if index is None else inner.id_to_token(index) for key, index in ids.items()}
    bos = names["bos_token"]
    if bos is not None and _before(inner) != [bos]:
        # mm1 begins documents with it by itself; transformers only if the file says so.
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, ids["bos_token"])]
        )
        text = inner.to_str()
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **names,
        "model_max_length": max_positions,
        "clean_up_tokenization_spaces": False,
    }
    write_atomically(out / TOKENIZER, text.encode())
    write_atomically(out / TOKENIZER_CONFIG, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())


def _open(path: Path) -> tuple[str, tokenizers.Tokenizer]:
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: mm1 reads fast tokenizers, so load this one with transformers, and save it with "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    try:
        text = path.read_bytes().decode()
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} is not a tokenizer file ({error}): copy it again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return text, tokenizer


def _declared(folder: Path) -> dict[str, str]:
    """The special tokens that the folder's files name, by key; those of transformers 4 wrap some in objects."""
    names: dict[str, str] = {}
    for file in ("special_tokens_map.json", TOKENIZER_CONFIG):
        if not (folder / file).is_file():
            continue
        values = read_json(folder / file)
        for key in ("eos_token", "pad_token", "unk_token"):
            value = values.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                names[key] = value
    return names


def _eos(folder: HFFolder, declared: dict[str, str], tokenizer: tokenizers.Tokenizer) -> str:
    """The end of text: what the tokenizer's files say, or else the first that config.json does."""
    name: str | None = declared.get("eos_token")
    if name is None:
        index: Any = folder.config.get("eos_token_id")
        index = index[0] if isinstance(index, list) and index else index
        names = {index: name for name, index in tokenizer.get_vocab(with_added_tokens=True).items()}
        name = names.get(index) if isinstance(index, int) else None
    if name is None or tokenizer.token_to_id(name) is None:
        what = "names no end-of-text token" if name is None else f"has no token '{name}' for the end of a text"
        raise UserError(f"{folder.path} {what}: set eos_token in its tokenizer_config.json")
    return name


def _bos(path: Path, tokenizer: tokenizers.Tokenizer) -> str | None:
    """What the tokenizer really puts before a text, whatever its files name as beginning of text."""
    before = _before(tokenizer)
    if len(before) > 1:
        raise UserError(
            f"{path} puts {' '.join(before)} before each text, but mm1 begins documents with one token at most"
        )
    return before[0] if before else None


def _before(tokenizer: tokenizers.Tokenizer) -> list[str]:
    """The special tokens that stand before every text."""
    plain = tokenizer.encode("a", add_special_tokens=False).tokens
    whole: list[str] = tokenizer.encode("a", add_special_tokens=True).tokens
    return whole[: next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)]


def _free(name: str, ids: dict[str, int]) -> str:
    """`name`, or where the vocabulary spells something so already, one of our own."""
    while name in ids:
        name = f"<|mm1_{name.strip('<|>')}|>"
    return name


def _insert(path: Path, text: str, added: dict[str, int]) -> str:
    listed, end = _added_tokens(path, text)
    entries = _entries(added, first=listed == 0)
    return text[:end] + entries + text[end:]


def _remove(path: Path, text: str, added: dict[str, int]) -> str:
    listed, end = _added_tokens(path, text)
    entries = _entries(added, first=listed == len(added))
    if text[end - len(entries) : end] != entries:
        raise UserError(f"{path} does not end its added_tokens with {', '.join(added)}: import the model again")
    return text[: end - len(entries)] + text[end:]


def _added_tokens(path: Path, text: str) -> tuple[int, int]:
    """How many tokens the file lists as added, and where in its text the list closes."""
    match = re.search(r'"added_tokens"\s*:\s*(?=\[)', text)  # no string can hold this: its quotes would be escaped
    if match is None:
        raise UserError(f"{path} has no list of added_tokens: save it again with transformers")
    listed, end = json.JSONDecoder().raw_decode(text, match.end())
    return len(listed), end - 1


def _entries(added: dict[str, int], first: bool) -> str:
    common = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    entries = [
        json.dumps({"id": index, "content": name, **common}, ensure_ascii=False) for name, index in added.items()
    ]
    return ("" if first or not entries else ",") + ",".join(entries)


def _check_ids(path: Path, extended: str, ids: dict[str, int]) -> None:
    """The library numbers added tokens by itself: with holes among the ids, it would number ours otherwise."""
    got: dict[str, int] = tokenizers.Tokenizer.from_str(extended).get_vocab(with_added_tokens=True)
    if got != ids:
        name = next(name for name in ids if got.get(name) != ids[name])
        raise UserError(
            f"{path} has holes among its ids ('{name}' would become {got.get(name)} instead of {ids[name]}): load it "
            "with transformers and save it again"
        )
