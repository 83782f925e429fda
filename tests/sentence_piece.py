"""A tokenizer as Llama 2's and Mistral's: words begin with "▁", rare characters are bytes, texts begin with a space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "image_token": "<image>",
}


def write_sentence_piece(
    folder: Path, texts: Sequence[str], prefix: str, special: dict[str, str] = SPECIAL, bos: bool = False
) -> Path:
    """Writes tokenizer.json, whose path is returned, and tokenizer_config.json.

    Args:
        folder: where.
        texts: what words are learned from.
        prefix: what puts the space before texts: "normalizer" (Llama 2, Mixtral), "first" (newer Mistrals) or "always"
            (as transformers saves what is `legacy`); "never" for none.
        special: how special tokens are spelled.
        bos: whether the file itself puts a BOS before texts.
    """
    path = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps if prefix == "never" else [*steps, decoders.Strip(" ", 1, 0)])
    # While learning, words are apart: no token has a space but at its beginning.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=120,
        special_tokens=["<unk>", *special.values()],
        initial_alphabet=sorted(set("".join(texts)) - set("\n ")),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.replace("\n", " ") for text in texts], trainer)
    if prefix == "normalizer":
        tokenizer.pre_tokenizer = None
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    if bos:
        pair = [(special["bos_token"], tokenizer.token_to_id(special["bos_token"]))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{pair[0][0]} $A", special_tokens=pair)
    values: dict[str, Any] = json.loads(tokenizer.to_str())
    ids = values["model"]["vocab"]
    first = max(ids.values()) + 1
    ids.update({f"<0x{byte:02X}>": first + byte for byte in range(256)})
    for token in values["added_tokens"]:
        token["normalized"] = True  # as in the older of Llama's files
    path.write_text(json.dumps(values, ensure_ascii=False))
    config = {**special, "tokenizer_class": "PreTrainedTokenizerFast"}
    path.with_name("tokenizer_config.json").write_text(json.dumps(config))
    return path
