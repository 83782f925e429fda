"""Feature vectors of pictures, for examples that look like the question: by the model's own encoder, kept on disk.

    features = encoder_features(model)                       # pictures → (n, D)
    pool_features(pool, pictures, features, folder, world)   # (len(pool), D), computed once, by all processes together

    folder/0.npy, 1.npy, …                                   blocks of rows; one that is there is not computed again

Knows nothing of how similarity is used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from mm1.config import UserError
from mm1.data.image import decode_sub_images
from mm1.data.sub_images import WHOLE
from mm1.distributed.collectives import wait_for_all
from mm1.distributed.mesh import World
from mm1.eval.episodes import Unaskable
from mm1.eval.model import MM1Model
from mm1.eval.official.pictures import Pictures
from mm1.eval.official.rows import Row
from mm1.eval.official.selection import PICTURES_ADVICE, Features
from mm1.files import write_atomically
from mm1.types import Image

BLOCK = 512
AT_ONCE = 32
"""Pictures through the encoder together."""


def encoder_features(model: MM1Model) -> Features:
    """The class token or mean patch of the model's image encoder, each picture squashed to its square.

    Raises:
        UserError: a text model.
    """
    encoder = model.engine.model.image_encoder
    if encoder is None:
        raise UserError("the model reads text only, so it can not say which pictures are alike: draw examples by seed")
    size, device = encoder.config.image_size, next(encoder.parameters()).device

    @torch.inference_mode()
    def features(images: Sequence[Image]) -> Float[np.ndarray, "n D"]:
        pixels = np.stack([decode_sub_images(image.data, WHOLE, size)[0] for image in images])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
        pooled: np.ndarray = encoder.pool(encoder.normalise(batch)).float().cpu().numpy()
        return pooled

    return features


def pool_features(
    pool: Sequence[Row], pictures: Pictures, features: Features, folder: Path, model_name: str, world: World
) -> Float[np.ndarray, "n D"]:
    """Features of the pool's pictures in its order, zeros for those that can not be read.

    Raises:
        UserError: not one can be read.
    """
    # Files of other folders have the same names, and what was missing may be there by now.
    shown = [(row.picture, pictures.mark(row.picture)) for row in pool]
    rows = hashlib.sha256(repr([model_name, str(pictures.folder), shown]).encode()).hexdigest()
    folder = folder / rows[:16]
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(pool), BLOCK)
    for number, start in enumerate(starts):
        path = folder / f"{number}.npy"
        if number % world.size == world.rank and not path.exists():
            data = io.BytesIO()
            np.save(data, _block(pool[start : start + BLOCK], pictures, features))
            write_atomically(path, data.getvalue())
    wait_for_all()
    blocks = [np.load(folder / f"{number}.npy") for number in range(len(starts))]
    width = max((block.shape[1] for block in blocks), default=0)
    if width == 0:
        raise UserError(f"not one picture of the {len(pool)} rows that may be examples can be read: {PICTURES_ADVICE}")
    return np.concatenate([block if block.shape[1] else np.zeros((len(block), width), np.float32) for block in blocks])


def _block(rows: Sequence[Row], pictures: Pictures, features: Features) -> Float[np.ndarray, "n D"]:
    """Of width 0 where no picture can be read."""
    found: dict[int, Image] = {}
    for number, row in enumerate(rows):
        try:
            found[number] = pictures.read(row)
        except Unaskable:
            continue
    if not found:
        return np.zeros((len(rows), 0), np.float32)
    images = list(found.values())
    parts = [features(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
    known = np.concatenate(parts).astype(np.float32)
    block = np.zeros((len(rows), known.shape[1]), np.float32)
    block[list(found)] = known
    return block
