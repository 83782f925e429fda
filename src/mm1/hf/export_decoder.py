"""An mm1 checkpoint's decoder → a folder that transformers opens by itself, such as a Llama's or a Mixtral's.

    export_decoder(open_checkpoint(Path("runs/tiny/sft")), Path("plain"))
    AutoModelForCausalLM.from_pretrained("plain"), AutoTokenizer.from_pretrained("plain")

    config.json   model.safetensors, or shards and their index   tokenizer.json …   generation_config.json

What was imported goes back as it came: its family, its tokenizer's files byte for byte, its vocabulary without the ids
that mm1 added. Tensors are read and written one shard at a time. Knows nothing of images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from mm1.checkpoint import Checkpoint, new_folder
from mm1.config import UserError
from mm1.files import write_atomically
from mm1.hf.decoder_tensors import VOCABULARY, decoder_layout
from mm1.hf.decoders import Family, choose_family, config_json, context_length, decoder_config
from mm1.hf.folder import read_json
from mm1.hf.shards import SHARD_BYTES, write_shards
from mm1.hf.source import Source, recall
from mm1.hf.vocabulary import restore, write_for_transformers
from mm1.models.decoder import DecoderConfig


def export_decoder(
    checkpoint: Checkpoint, out: Path, max_positions: int | None = None, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Writes the folder `out`, whole or not at all, and returns it.

    Args:
        checkpoint: of a text model, or of a multimodal one, whose decoder it is then.
        out: a folder that is not there yet.
        max_positions: what readers are told of the context's length; None: the imported folder's word, or else the
            length of the rows that the stage was trained on.
        shard_bytes: most of one file of weights.

    Raises:
        UserError: `out` is there already; no family of transformers is like the decoder; or nothing says
            `max_positions`, or it is less than 1.
    """
    check_positions(max_positions)
    with new_folder(out) as partial:
        source = recall(checkpoint.folder)
        config = checkpoint.config.model.decoder
        if source is not None:
            config = config.replace(vocab_size=decoder_config(source.config).vocab_size)
        family = choose_family(config, None if source is None else source.config.get("model_type"))
        positions = known_positions(checkpoint, source) if max_positions is None else max_positions
        if positions is None:
            raise UserError(f"nothing in {checkpoint.folder} says how long its texts may be: give --max-positions")
        special = _special_ids(checkpoint, source)
        dtype = write_shards(_tensors(checkpoint, config, family), partial, shard_bytes)
        values = {**config_json(config, family, positions), **special, "torch_dtype": str(dtype).removeprefix("torch.")}
        _write_json(partial / "config.json", values)
        if source is not None:
            restore(checkpoint.folder, source, partial)
        else:
            write_for_transformers(checkpoint.tokenizer, positions, partial)
            _write_json(partial / "generation_config.json", special)
    return out


def known_positions(checkpoint: Checkpoint, source: Source | None) -> int | None:
    """The context's length: what the imported folder said, or else the length of the rows that the stage trained on."""
    said = None if source is None else context_length(source.config)
    if said is not None:
        return said
    data = read_json(checkpoint.folder / "config.json").get("data")
    length = data.get("seq_len") if isinstance(data, dict) else None
    return length if isinstance(length, int) else None


def check_positions(max_positions: int | None) -> None:
    """Refuses a context without room for a token.

    Raises:
        UserError: it is less than 1.
    """
    if max_positions is not None and max_positions < 1:
        raise UserError(f"--max-positions is {max_positions}, but a text has at least 1: give what the model can take")


def _special_ids(checkpoint: Checkpoint, source: Source | None) -> dict[str, Any]:
    if source is not None:
        return {key: source.config.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    tokenizer = checkpoint.tokenizer
    return {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}


def _tensors(checkpoint: Checkpoint, config: DecoderConfig, family: Family) -> Iterator[tuple[str, Tensor]]:
    """The decoder's tensors by the family's names, read as they are asked for.

    Raises:
        UserError: the weights are missing, damaged, or not those of the checkpoint's config.
    """
    stored = checkpoint.tensors()
    for name, part in decoder_layout(config, family).items():
        tensor = stored[f"decoder.{name}"]
        yield from part.split(tensor[: config.vocab_size] if name in VOCABULARY else tensor)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())
