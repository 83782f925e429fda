r"""The two kinds of CLIP that can score pairs: mm1's own, and those that transformers saves.

    open_scorer(Path("runs/tiny"))                                   # the run's stage `encoder`
    open_scorer(Path("DFN5B-CLIP-ViT-H-14-378"))                     # of safetensors; needs mm1[hf]

Each sees images and texts as in its own training: mm1's squashes images and puts captions into the template, the others
do what their folder says. Scores are computed in float32, and on a CPU in one thread, for more would make sums in
another order: a set is the same on any number of processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from torch import Tensor

from mm1.config import Config, UserError, from_json
from mm1.curation.clip_score import Scorer, folder_of
from mm1.data import templates
from mm1.data.collate import collate
from mm1.data.encode import DocumentEncoder
from mm1.data.image import MAX_PIXELS, BadImage, read_image
from mm1.data.threads import one_thread
from mm1.data.tokenizer import Tokenizer
from mm1.distributed.mesh import default_device
from mm1.models.clip import CLIP, CLIPConfig, CLIPOutput
from mm1.models.weights import load_weights
from mm1.types import Document, Image, Sample

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


class _Data(Config):
    seq_len: int


def open_scorer(path: Path, device: torch.device | None = None) -> Scorer:
    """The CLIP at `path`, on CUDA where there is one.

    Raises:
        UserError: there is none, it is damaged, or it is of a kind that scores no pairs.
    """
    folder = folder_of(path)
    where = device or default_device()
    try:
        values = json.loads((folder / CONFIG).read_text())
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is not valid JSON ({error}): make or copy it again") from None
    ours = values.get("model") if isinstance(values, dict) else None
    if isinstance(ours, dict) and ours.get("kind") == "clip":
        return OwnClip.load(folder, values, where)
    if isinstance(values, dict) and values.get("model_type") == "clip":
        return TransformersClip.load(folder, where)
    kind = (
        ours.get("kind") if isinstance(ours, dict) else values.get("model_type") if isinstance(values, dict) else None
    )
    raise UserError(
        f"clip.model is {path}, a model of kind {kind!r}: give a CLIP, with a text tower and an image encoder"
    )


@dataclass(frozen=True, kw_only=True)
class OwnClip:
    """A finished stage of kind `clip`."""

    model: CLIP
    encoder: DocumentEncoder
    max_len: int
    """Of a caption with its image, as in training; the end of a longer one is not seen."""

    @staticmethod
    def load(folder: Path, values: dict[str, Any], device: torch.device) -> OwnClip:
        config = from_json(CLIPConfig, values["model"], str(folder / CONFIG))
        data = values.get("data") or {}
        seq_len = from_json(_Data, {"seq_len": data.get("seq_len")}, str(folder / CONFIG)).seq_len
        tokenizer = Tokenizer(folder / TOKENIZER)
        if tokenizer.vocab_size > config.text_tower.vocab_size:
            raise UserError(f"{tokenizer.path} has more ids than the CLIP beside it: give the one it was trained with")
        with torch.device("meta"):
            model = CLIP(config)
        model.to_empty(device=device)
        load_weights(model, folder / WEIGHTS)
        encoder = DocumentEncoder(tokenizer, config.num_image_tokens, config.image_encoder.image_size)
        return OwnClip(model=model.eval(), encoder=encoder, max_len=seq_len)

    def score(self, pairs: Sequence[tuple[bytes, str]]) -> NDArray[np.float32]:
        """See Scorer."""
        return _scored(pairs, self._sample, self._cosines)

    def _sample(self, data: bytes, text: str) -> Sample:
        segments = templates.answered(templates.caption_prompt(Image(data)), text)
        return self.encoder.encode(Document(id="pair", segments=segments), pairs=True, max_pair_len=self.max_len)

    def _cosines(self, samples: Sequence[Sample]) -> Tensor:
        rows, longest = [[sample] for sample in samples], max(map(len, samples))
        batch = collate(rows, longest, self.encoder, ("",))
        out: CLIPOutput = self.model(batch.to(next(self.model.parameters()).device))
        return (out.image_embeddings * out.text_embeddings).sum(-1)


_Prepared: TypeAlias = tuple[Picture, str]


@dataclass(frozen=True, kw_only=True)
class TransformersClip:
    """A CLIPModel, with the tokenizer and the image processor of its folder. No code of the folder is run."""

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    processor: Any = field(repr=False)

    @staticmethod
    def load(folder: Path, device: torch.device) -> TransformersClip:
        try:
            from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel
        except ImportError:
            raise UserError("a CLIP of transformers needs transformers: pip install 'mm1[curate,hf]'") from None
        here: dict[str, Any] = {"local_files_only": True}
        try:
            model = CLIPModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **here)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **here)
            processor = CLIPImageProcessorPil.from_pretrained(folder, **here)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            why = " ".join(str(error).split())[:300]
            raise UserError(
                f"{folder} can not be opened as a CLIP ({why}): save it anew with save_pretrained"
            ) from None
        return TransformersClip(model=model.to(device).eval(), tokenizer=tokenizer, processor=processor)

    def score(self, pairs: Sequence[tuple[bytes, str]]) -> NDArray[np.float32]:
        """See Scorer."""
        return _scored(pairs, self._prepare, self._cosines)

    def _prepare(self, data: bytes, text: str) -> _Prepared:
        return read_image(data, MAX_PIXELS), text  # at its full size, as in the model's training

    def _cosines(self, pairs: Sequence[_Prepared]) -> Tensor:
        device, longest = self.model.device, self.model.config.text_config.max_position_embeddings
        pixels = self.processor([image for image, _ in pairs], return_tensors="pt")["pixel_values"].to(device)
        words = self.tokenizer(
            [text for _, text in pairs], padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(device)
        images = self.model.get_image_features(pixel_values=pixels).pooler_output
        texts = self.model.get_text_features(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"]
        ).pooler_output
        return torch.nn.functional.cosine_similarity(images, texts, dim=-1)


def _scored(
    pairs: Sequence[tuple[bytes, str]],
    prepare: Callable[[bytes, str], Any],
    cosines: Callable[[Sequence[Any]], Tensor],
) -> NDArray[np.float32]:
    """The scores in the places of the pairs whose image can be read, NaN elsewhere."""
    scores = np.full(len(pairs), np.nan, np.float32)
    ready = {}
    for number, pair in enumerate(pairs):
        try:
            ready[number] = prepare(*pair)
        except BadImage:
            continue
    if ready:
        # Convolutions on CUDA would round their inputs to 10 bits of mantissa.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), one_thread(), exact:
            scores[list(ready)] = cosines(list(ready.values())).float().cpu().numpy()
    return scores
