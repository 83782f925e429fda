"""Weights as transformers saves them: one safetensors file, or several and an index that says what stands where.

    model.safetensors        or    model-00001-of-00002.safetensors, …, model.safetensors.index.json

Tensors are taken one after another and written as soon as a file is full, so a model larger than memory can be
written. Knows nothing of the tensors' names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from mm1.files import write_atomically
from mm1.hf.folder import INDEX, WEIGHTS
from mm1.models.weights import write_tensors

SHARD_BYTES = 5 * 10**9
"""Most of one file: what the hub asks for, and transformers 4 wrote."""


def write_shards(tensors: Iterable[tuple[str, Tensor]], out: Path, shard_bytes: int = SHARD_BYTES) -> torch.dtype:
    """Writes files of `shard_bytes` at most and, where there are several, their index; returns the tensors' dtype.

    Raises:
        UserError: there is no room, or a file can not be written for another reason.
    """
    shards: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    total, dtypes = 0, set()

    def close() -> None:
        write_tensors(shard, out / f"{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(shard))
        shard.clear()

    for name, tensor in tensors:
        if shard and sum(part.nbytes for part in shard.values()) + tensor.nbytes > shard_bytes:
            close()
        shard[name] = tensor
        total += tensor.nbytes
        dtypes.add(tensor.dtype)
    close()
    count = len(shards)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    for number, file in enumerate([WEIGHTS] if count == 1 else names):
        (out / f"{number}.part").rename(out / file)
    if count > 1:
        places = {name: file for file, held in zip(names, shards, strict=True) for name in held}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_atomically(out / INDEX, (json.dumps(index, indent=2) + "\n").encode())
    return max(dtypes, key=lambda dtype: dtype.itemsize)
