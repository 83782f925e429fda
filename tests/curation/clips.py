"""Small CLIPs with random weights, as mm1's training and as transformers leave them."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
import torch
from tokenizers import AddedToken, models, pre_tokenizers, processors, trainers
from torch import nn

from mm1.config import to_json
from mm1.data.tokenizer import train_tokenizer
from mm1.models.clip import CLIP, CLIPConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.weights import save_weights

TEXTS = ("a red circle on a wall", "two blue squares", "a cat", "what a long text of many words this is " * 8)


def perturb(model: nn.Module) -> None:
    """Weights so large that scores differ."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)


def own_clip(run: Path, seq_len: int = 40) -> Path:
    """A run whose stage `encoder` is finished."""
    folder = run / "encoder"
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(iter(TEXTS * 3), 300, folder / "tokenizer.json")
    config = CLIPConfig(
        image_encoder=ImageEncoderConfig(image_size=16, patch_size=8, dim=16, num_layers=2, num_heads=2, mlp_dim=32),
        text_tower=DecoderConfig(vocab_size=tokenizer.vocab_size, dim=32, num_layers=2, mlp_dim=64),
        embed_dim=24,
    )
    model = CLIP(config)
    perturb(model)
    save_weights(model, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model": to_json(config), "data": {"seq_len": seq_len}}))
    return run


def foreign_clip(folder: Path) -> Path:
    """What save_pretrained leaves of a CLIPModel, its tokenizer and its image processor."""
    import transformers  # not on every machine with a GPU

    library = tokenizers.Tokenizer(models.BPE(unk_token="<|endoftext|>"))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = [AddedToken("<|startoftext|>", special=True), AddedToken("<|endoftext|>", special=True)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    library.train_from_iterator(TEXTS, trainer)
    library.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)]
    )
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=library, bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    words.save_pretrained(folder)
    both = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    text = both | {"vocab_size": 320, "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(
        text_config=text | {"pad_token_id": 1},
        vision_config=both | {"image_size": 32, "patch_size": 8},
        projection_dim=20,
    )
    model = transformers.CLIPModel(config).eval()
    perturb(model)
    model.save_pretrained(folder)
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder
