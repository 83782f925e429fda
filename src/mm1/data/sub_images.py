"""One picture as several encoder inputs: which grid of tiles it is laid on, how many that makes, and the cutting.

    config = SubImagesConfig.for_resolution(1344, image_size=672)       # MM1: an overview and 2 x 2 tiles of 672
    num_sub_images(config, 672, widths, heights)                        # [5, 5, …], times 144 tokens = 720 each
    cut(picture, config, 672)                                           # five (672, 672, 3) arrays

    ┌────┬────┐   the tiles row by row from the top left; the overview, the whole picture on one tile,
    │ 1  │ 2  │   before them (MM1, SPHINX), after them (MM1.5) or nowhere. A picture on a single tile
    ├────┼────┤   is its own overview and makes one sub-image: so the default, a grid of 1 x 1, is no
    │ 3  │ 4  │   decomposition at all.
    └────┴────┘

Downstream a sub-image is an image like any other: it takes `num_image_tokens` positions and counts as one of
`max_images`. Knows nothing of tokens, documents or files; the side of a tile is the image encoder's `image_size`.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field, PositiveInt, model_validator

from mm1.config import Config, UserError


class FixedGridConfig(Config):
    """The same grid for every picture, whatever its size and shape: MM1's 2 x 2. Smaller pictures are enlarged."""

    kind: Literal["fixed"] = "fixed"
    rows: PositiveInt = 1
    columns: PositiveInt = 1


class BestGridConfig(Config):
    """For each picture the best of all grids of `min_tiles` to `max_tiles` tiles, by MM1.5's rule (arXiv 2409.20566).

    Where some grids hold the picture without shrinking it, the one of them that is left with the least padding;
    otherwise the one in which the picture, its shape kept, loses the least resolution. Ties go to less padding, then to
    fewer tiles, then to fewer rows. A picture smaller than its grid is enlarged until it fills one of the grid's sides.
    MM1.5 trains with 4 to 9 tiles and answers with up to 16.
    """

    kind: Literal["best"] = "best"
    min_tiles: PositiveInt = 4
    max_tiles: PositiveInt = 9

    @model_validator(mode="after")
    def _check(self) -> BestGridConfig:
        if self.min_tiles > self.max_tiles:
            raise ValueError(f"min_tiles is {self.min_tiles} and max_tiles {self.max_tiles}: give the smaller as min")
        return self


class SubImagesConfig(Config):
    """How a picture becomes encoder inputs. The default: one, squashed to a square."""

    grid: Annotated[FixedGridConfig | BestGridConfig, Field(discriminator="kind")] = FixedGridConfig()
    fit: Literal["squash", "pad"] = "squash"
    """How a picture fills the grid, and its overview a tile. "squash" ignores its shape, as MM1's encoders were trained
    (DFN5B-CLIP; what MM1 did with sub-images is not published). "pad" keeps the shape and centres it."""
    background: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field((255, 255, 255), min_length=3, max_length=3)
    """Red, green and blue of the padding; white is what transparency is laid on as well."""
    overview: Literal["first", "last", "none"] = "first"
    """Where the whole picture on one tile stands. MM1: first; MM1.5 found last slightly better."""

    @property
    def depends_on_size(self) -> bool:
        """Whether pictures of different sizes make different numbers of sub-images."""
        return self.grid.kind == "best" and self.grid.min_tiles < self.grid.max_tiles

    @property
    def max_sub_images(self) -> int:
        """The most that one picture can make."""
        tiles = self.grid.max_tiles if self.grid.kind == "best" else self.grid.rows * self.grid.columns
        return tiles + self._overviews(tiles)

    @staticmethod
    def for_resolution(
        resolution: int,
        image_size: int,
        *,
        fit: Literal["squash", "pad"] = "squash",
        overview: Literal["first", "last", "none"] = "first",
    ) -> SubImagesConfig:
        """The fixed square grid whose tiles of `image_size` pixels together show `resolution` pixels a side.

        Raises:
            UserError: no whole number of tiles makes that resolution.
        """
        side = max(1, round(resolution / image_size))
        if side * image_size != resolution:
            raise UserError(
                f"a resolution of {resolution} can not be made of tiles of {image_size} pixels: "
                f"the nearest that can is {side * image_size}"
            )
        return SubImagesConfig(grid=FixedGridConfig(rows=side, columns=side), fit=fit, overview=overview)

    def _overviews(self, tiles: int) -> int:
        """1 where `tiles` tiles are joined by an overview, else 0."""
        return int(tiles > 1 and self.overview != "none")


WHOLE = SubImagesConfig()
"""No decomposition: a picture is one image."""


def num_sub_images(config: SubImagesConfig, image_size: int, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """(n,) int64: how many sub-images pictures of these sizes make. The one place where this is decided.

    Args:
        config: the policy.
        image_size: pixels of a tile's side.
        widths: (n,) pixels of the pictures, upright.
        heights: (n,) likewise.
    """
    tiles: np.ndarray = choose_grids(config, image_size, widths, heights).prod(axis=1)
    return tiles if config.overview == "none" else tiles + (tiles > 1)


def choose_grids(config: SubImagesConfig, image_size: int, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """(n, 2) int64 rows and columns of the grids that pictures of these sizes are laid on; arguments as above.

    A size of 0, as of a picture that can not be read, counts as 1.
    """
    if isinstance(config.grid, FixedGridConfig):
        return np.tile(np.array([[config.grid.rows, config.grid.columns]], np.int64), (len(widths), 1))
    candidates = _candidates(config.grid.min_tiles, config.grid.max_tiles)
    # In whole numbers, so that ties fall the same way on every machine.
    height, width = candidates.T * image_size  # of each grid: (c,)
    h, w = (np.maximum(1, side.astype(np.int64))[:, None] for side in (heights, widths))  # of each picture: (n, 1)
    holds = (height >= h) & (width >= w)
    scale = np.minimum(height * w, width * h)  # by which the picture fits the grid, times h * w
    allowed = np.where(holds.any(axis=1, keepdims=True), holds, scale == scale.max(axis=1, keepdims=True))
    # The picture fills one side of the grid; what it leaves free along the other, in pixels, times h * w.
    padding = scale * np.abs(width * h - height * w)
    chosen: np.ndarray = candidates[np.where(allowed, padding, np.iinfo(np.int64).max).argmin(axis=1)]
    return chosen


def choose_grid(config: SubImagesConfig, image_size: int, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the grid that one picture is laid on; arguments as above."""
    rows, columns = choose_grids(config, image_size, np.array([width]), np.array([height]))[0].tolist()
    return rows, columns


def cut(
    picture: Image.Image | np.ndarray, config: SubImagesConfig, image_size: int, grid: tuple[int, int] | None = None
) -> list[np.ndarray]:
    """The sub-images of one picture, in their order, each (image_size, image_size, 3) uint8.

    Grid and overview are both resized from the picture itself, with bicubic interpolation.

    Args:
        picture: RGB and upright; an array is (H, W, 3) uint8.
        config: the policy.
        image_size: pixels of a tile's side.
        grid: rows and columns, where they were chosen already from the size that `picture` had before it was reduced.
    """
    pixels = np.array(picture)
    rows, columns = grid or choose_grid(config, image_size, pixels.shape[1], pixels.shape[0])
    whole = fitted(pixels, config, columns * image_size, rows * image_size)
    # (rows, image_size, columns, image_size, 3) → tiles row by row
    split = whole.reshape(rows, image_size, columns, image_size, 3).swapaxes(1, 2)
    tiles = list(split.reshape(-1, image_size, image_size, 3))
    if len(tiles) == 1 or config.overview == "none":
        return tiles
    overview = [fitted(pixels, config, image_size, image_size)]
    return overview + tiles if config.overview == "first" else tiles + overview


def fitted(pixels: np.ndarray, config: SubImagesConfig, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: the picture, (H, W, 3), as `config.fit` lays it on an area of that size."""
    if config.fit == "squash":
        return resized(pixels, width, height)
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    h, w = (min(most, max(1, round(side * scale))) for side, most in zip(pixels.shape, (height, width), strict=False))
    area = np.full((height, width, 3), config.background, np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    area[top : top + h, left : left + w] = resized(pixels, w, h)
    return area


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 by bicubic interpolation with antialiasing, of `pixels` (H, W, 3) uint8.

    Across, then down, as Pillow does for photos, whose values it has but for one or two of 255: both compute in whole
    numbers, of other precision. It is several times as fast, and from two pixels of width up the same on every CPU.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    import torch  # here, for it takes a second to import and curation, which decodes as well, does without

    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    smooth = torch.nn.functional.interpolate(planes, size=(height, width), mode="bicubic", antialias=True)
    return smooth[0].permute(1, 2, 0).numpy()


@cache
def _candidates(min_tiles: int, max_tiles: int) -> np.ndarray:
    """(c, 2) int64 rows and columns of every grid with so many tiles; fewer tiles first, then fewer rows."""
    sizes = [
        (rows * columns, rows, columns)
        for rows in range(1, max_tiles + 1)
        for columns in range(1, max_tiles // rows + 1)
        if rows * columns >= min_tiles
    ]
    return np.array(sorted(sizes), np.int64)[:, 1:]
