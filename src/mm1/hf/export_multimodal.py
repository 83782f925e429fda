"""An mm1 checkpoint → a folder that transformers opens as a model of images and text.

    export_multimodal(open_checkpoint(Path("runs/tiny/sft")), Path("exported"))

    import mm1.hf                                            # or trust_remote_code=True below
    AutoProcessor.from_pretrained("exported"), AutoModelForImageTextToText.from_pretrained("exported")
    pipeline("image-text-to-text", "exported")

    config.json   generation_config.json   model.safetensors, or shards and their index   configuration_mm1.py, …
    processor_config.json   tokenizer.json   tokenizer_config.json   chat_template.jinja

Tensors keep mm1's names behind a prefix and are read and written one by one. Knows nothing of training.
"""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, GenerationConfig

from mm1.checkpoint import Checkpoint, new_folder
from mm1.config import to_json
from mm1.files import write_atomically
from mm1.hf.chat_template import chat_template
from mm1.hf.configuration import MM1MultimodalConfig
from mm1.hf.export_decoder import check_positions, known_positions
from mm1.hf.image_processing import MM1ImageProcessor
from mm1.hf.processing import MM1Processor
from mm1.hf.remote_code import write_remote_code
from mm1.hf.shards import SHARD_BYTES, write_shards
from mm1.hf.source import recall
from mm1.hf.tokenizer import write_tokenizer


def export_multimodal(
    checkpoint: Checkpoint, out: Path, max_positions: int | None = None, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Writes the folder `out`, whole or not at all, and returns it.

    Args:
        checkpoint: of a model that takes images.
        out: a folder that is not there yet.
        max_positions: what readers are told of the context's length; None: what the decoder that was imported said,
            or else the length of the rows that the stage was trained on, or else nothing.
        shard_bytes: most of one file of weights.

    Raises:
        UserError: `out` is there already, the model takes no images, its weights are damaged, or its tokenizer has a
            special token that no text can be kept from spelling; or `max_positions` is less than 1.
    """
    check_positions(max_positions)
    with new_folder(out) as partial:
        model, tokenizer = checkpoint.config.model, checkpoint.tokenizer
        config = MM1MultimodalConfig.of(model, tokenizer.image_id, checkpoint.config.data.sub_images)
        source = recall(checkpoint.folder)
        positions = known_positions(checkpoint, source) if max_positions is None else max_positions
        if positions is not None:
            config.text_config.max_position_embeddings = positions
        config.architectures = ["MM1ForConditionalGeneration"]
        stored = checkpoint.tensors()
        config.dtype = write_shards(((_hf_name(name), stored[name]) for name in stored.shapes), partial, shard_bytes)
        config.save_pretrained(partial)
        _write_processor(checkpoint, partial, positions)
        _generation_config(checkpoint).save_pretrained(partial)
        write_remote_code(partial)
    return out


def _hf_name(name: str) -> str:
    """The name in MM1ForConditionalGeneration of a tensor of MM1."""
    if name == "decoder.head.weight":
        return "lm_head.weight"
    return f"model.language_model.{name}" if name.startswith("decoder.") else f"model.{name}"


def _write_processor(checkpoint: Checkpoint, out: Path, max_positions: int | None) -> None:
    special = write_tokenizer(checkpoint.tokenizer, out, max_positions)
    encoder = checkpoint.config.model.image_encoder
    assert encoder is not None
    processor = MM1Processor(
        image_processor=MM1ImageProcessor(encoder.image_size, to_json(checkpoint.config.data.sub_images)),
        tokenizer=AutoTokenizer.from_pretrained(out),
        num_image_tokens=checkpoint.config.model.num_image_tokens,
    )
    processor.to_json_file(out / "processor_config.json")
    template = chat_template(special.all, special.image, special.opening)
    write_atomically(out / "chat_template.jinja", template.encode())


def _generation_config(checkpoint: Checkpoint) -> GenerationConfig:
    """Greedy, and without the ids that mm1's own engine never generates."""
    tokenizer, vocab_size = checkpoint.tokenizer, checkpoint.config.model.decoder.vocab_size
    return GenerationConfig(
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
        suppress_tokens=tokenizer.never_generated(vocab_size),
    )
