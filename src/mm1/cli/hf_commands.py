"""The commands that make a checkpoint of other weights, or other folders of a checkpoint: one function each."""

from __future__ import annotations

from argparse import Namespace
from importlib.util import find_spec

from mm1.chain.finished import checkpoint_folder
from mm1.checkpoint import open_checkpoint, save_checkpoint
from mm1.cli.options import at_least, from_options
from mm1.config import LARGEST_SEED, UserError
from mm1.hf.export_decoder import export_decoder
from mm1.hf.import_checkpoint import ImportConfig, import_checkpoint
from mm1.models.moe import MoEConfig
from mm1.models.upcycle import upcycle as upcycle_weights


def import_(arguments: Namespace) -> None:
    """Hugging Face folders to a checkpoint."""
    asked = {
        "decoder": arguments.decoder,
        "image_encoder": arguments.image_encoder,
        "connector": arguments.connector,
        "num_image_tokens": arguments.num_image_tokens,
        "image_size": arguments.image_size,
        "seed": arguments.seed,
        "overrides": tuple(arguments.overrides),
    }
    checkpoint = import_checkpoint(from_options(ImportConfig, asked), arguments.out)
    print(f"Checkpoint: {checkpoint.folder}")


def export(arguments: Namespace) -> None:
    """A checkpoint, or a stage of a run, to a Hugging Face folder."""
    checkpoint = open_checkpoint(checkpoint_folder(arguments.checkpoint, arguments.stage))
    if arguments.decoder_only:
        export_decoder(checkpoint, arguments.folder, arguments.max_positions)
    else:
        # Of all these commands, only this one needs transformers.
        if find_spec("transformers") is None:
            raise UserError("this export needs transformers: install mm1[hf], or give --decoder-only")
        from mm1.hf.export_multimodal import export_multimodal

        export_multimodal(checkpoint, arguments.folder, arguments.max_positions)
    print(f"Folder: {arguments.folder}")


def upcycle(arguments: Namespace) -> None:
    """A dense checkpoint to a sparse one."""
    at_least(0, LARGEST_SEED, **{"--seed": arguments.seed})
    dense = open_checkpoint(checkpoint_folder(arguments.checkpoint, arguments.stage))
    asked = {"num_experts": arguments.num_experts, "top_k": arguments.top_k, "every": arguments.every}
    moe = from_options(MoEConfig, asked)
    model, tensors = upcycle_weights(dense.config.model, dense.tensors(), moe, arguments.seed)
    sparse = save_checkpoint(arguments.out, dense.config.replace(model=model), tensors, dense.tokenizer.path)
    print(f"Checkpoint: {sparse.folder}")
