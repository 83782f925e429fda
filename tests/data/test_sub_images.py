"""As many sub-images as the count says, cut without loss, the grid the one that the rule means."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from pydantic import ValidationError

from mm1.config import UserError, from_json, override, to_json
from mm1.data.sub_images import (
    WHOLE,
    BestGridConfig,
    FixedGridConfig,
    SubImagesConfig,
    choose_grid,
    choose_grids,
    cut,
    fitted,
    num_sub_images,
)

tile_ranges = st.tuples(st.integers(1, 9), st.integers(0, 7)).map(lambda pair: (pair[0], sum(pair)))
grids = st.one_of(
    st.builds(FixedGridConfig, rows=st.integers(1, 4), columns=st.integers(1, 4)),
    tile_ranges.map(lambda pair: BestGridConfig(min_tiles=pair[0], max_tiles=pair[1])),
)
policies = st.builds(
    SubImagesConfig,
    grid=grids,
    fit=st.sampled_from(["squash", "pad"]),
    background=st.tuples(*[st.integers(0, 255)] * 3),
    overview=st.sampled_from(["first", "last", "none"]),
)
sides = st.integers(1, 90)


def picture(width: int, height: int) -> PillowImage.Image:
    return PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@given(config=policies, width=sides, height=sides)
def test_the_count_is_what_is_cut(config: SubImagesConfig, width: int, height: int) -> None:
    images = cut(picture(width, height), config, 8)
    assert [len(images)] == num_sub_images(config, 8, np.array([width]), np.array([height])).tolist()
    assert len(images) <= config.max_sub_images
    assert config.depends_on_size or len(images) == config.max_sub_images
    assert all(image.shape == (8, 8, 3) and image.dtype == np.uint8 for image in images)


@given(config=policies, width=sides, height=sides)
def test_tiles_make_the_picture_again_with_the_overview_in_its_place(
    config: SubImagesConfig, width: int, height: int
) -> None:
    shown = picture(width, height)
    rows, columns = choose_grid(config, 8, width, height)
    tiles = cut(np.asarray(shown), config, 8)
    if len(tiles) > rows * columns:
        overview = tiles.pop({"first": 0, "last": -1}[config.overview])
        np.testing.assert_array_equal(overview, fitted(np.array(shown), config, 8, 8))
    else:
        assert config.overview == "none" or len(tiles) == 1
    lines = [np.concatenate(tiles[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
    np.testing.assert_array_equal(np.concatenate(lines), fitted(np.array(shown), config, columns * 8, rows * 8))


@given(width=sides, height=sides, rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_squash_is_one_resize_of_the_picture(width: int, height: int, rows: int, columns: int) -> None:
    shown = picture(width, height)
    # Across, then down; both compute in whole numbers, but of other precision.
    across = shown.resize((columns * 8, height), PillowImage.Resampling.BICUBIC)
    expected = across.resize((columns * 8, rows * 8), PillowImage.Resampling.BICUBIC)
    np.testing.assert_allclose(
        fitted(np.array(shown), WHOLE, columns * 8, rows * 8), np.asarray(expected, int), rtol=0, atol=3
    )


@given(width=sides, height=sides, rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_padding_keeps_the_shape_and_the_middle(width: int, height: int, rows: int, columns: int) -> None:
    config = SubImagesConfig(fit="pad", background=(1, 2, 3))
    area = fitted(np.array(PillowImage.new("RGB", (width, height), (200, 100, 50))), config, columns * 8, rows * 8)
    is_picture = (area == (200, 100, 50)).all(axis=2)
    assert (area[~is_picture] == (1, 2, 3)).all()
    filled_rows, filled_columns = is_picture.any(axis=1), is_picture.any(axis=0)
    assert is_picture.sum() == filled_rows.sum() * filled_columns.sum()  # a rectangle
    down, across = (filled_rows, rows * 8, height / width), (filled_columns, columns * 8, width / height)
    for filled, length, ratio in (down, across):
        first, last = np.flatnonzero(filled)[[0, -1]]
        assert 0 <= (length - 1 - last) - first <= 1  # centred
        other = (filled_columns if filled is filled_rows else filled_rows).sum()
        # one side is filled, and the other has its share to the nearest pixel, one at least
        assert filled.all() or abs(filled.sum() - max(1, other * ratio)) <= 0.5
    assert filled_rows.all() or filled_columns.all()


def best_by_the_rule(lowest: int, highest: int, r: int, width: int, height: int) -> tuple[int, int]:
    """MM1.5's rule word by word, in exact fractions of pixels."""
    candidates = [(n_h, n_w) for n_h in range(1, 99) for n_w in range(1, 99) if lowest <= n_h * n_w <= highest]

    def scale(grid: tuple[int, int]) -> Fraction:
        return min(Fraction(grid[0] * r, height), Fraction(grid[1] * r, width))

    def padding(grid: tuple[int, int]) -> Fraction:
        return grid[0] * grid[1] * r * r - scale(grid) ** 2 * width * height

    def size(grid: tuple[int, int]) -> tuple[int, int]:
        return grid[0] * grid[1], grid[0]

    covering = [grid for grid in candidates if scale(grid) >= 1]
    if covering:
        return min(covering, key=lambda grid: (padding(grid), size(grid)))
    return min(candidates, key=lambda grid: (1 - scale(grid), padding(grid), size(grid)))


@settings(max_examples=300)
@given(tiles=tile_ranges, r=st.sampled_from([8, 9]), width=sides, height=sides)
def test_the_best_grid_is_that_of_the_rule(tiles: tuple[int, int], r: int, width: int, height: int) -> None:
    config = SubImagesConfig(grid=BestGridConfig(min_tiles=tiles[0], max_tiles=tiles[1]))
    assert choose_grid(config, r, width, height) == best_by_the_rule(*tiles, r, width, height)


@pytest.mark.parametrize(
    ("width", "height", "tiles", "grid"),
    [
        (500, 500, (1, 4), (1, 1)),  # nothing is gained by enlarging it
        (1344, 600, (1, 4), (1, 2)),
        (1344, 1344, (1, 4), (2, 2)),
        (5000, 5000, (1, 9), (3, 3)),  # too large for all: the least is lost
        (600, 2600, (1, 9), (4, 1)),
        (500, 500, (4, 9), (2, 2)),  # enlarged, as four tiles are the least
        (64_000_000, 1, (1, 16), (1, 16)),
        (0, 0, (1, 4), (1, 1)),
    ],
)
def test_grids_by_hand(width: int, height: int, tiles: tuple[int, int], grid: tuple[int, int]) -> None:
    config = SubImagesConfig(grid=BestGridConfig(min_tiles=tiles[0], max_tiles=tiles[1]))
    assert choose_grid(config, 672, width, height) == grid


def test_many_pictures_at_once_get_what_each_gets_alone() -> None:
    config = SubImagesConfig(grid=BestGridConfig(min_tiles=1, max_tiles=9))
    widths, heights = np.random.default_rng(0).integers(1, 3000, (2, 500))
    alone = [choose_grid(config, 672, w, h) for w, h in zip(widths.tolist(), heights.tolist(), strict=True)]
    assert choose_grids(config, 672, widths, heights).tolist() == [list(grid) for grid in alone]
    assert num_sub_images(config, 672, widths[:0], heights[:0]).shape == (0,)


@pytest.mark.parametrize(("resolution", "image_size"), [(1344, 672), (1792, 896)])
def test_the_papers_resolutions_are_five_images(resolution: int, image_size: int) -> None:
    config = SubImagesConfig.for_resolution(resolution, image_size)
    assert num_sub_images(config, image_size, np.array([1500, 30]), np.array([1000, 900])).tolist() == [5, 5]
    assert config.max_sub_images * 144 == 720
    assert config.overview == "first"
    assert SubImagesConfig.for_resolution(image_size, image_size) == WHOLE


@pytest.mark.parametrize(("resolution", "nearest"), [(1300, 1344), (1000, 672), (1, 672), (672 * 3 - 1, 2016)])
def test_a_resolution_that_no_grid_makes(resolution: int, nearest: int) -> None:
    with pytest.raises(UserError, match=rf"of {resolution} .* of 672 pixels: the nearest that can is {nearest}$"):
        SubImagesConfig.for_resolution(resolution, 672)


def test_the_default_cuts_nothing() -> None:
    assert SubImagesConfig() == WHOLE
    assert (WHOLE.max_sub_images, WHOLE.depends_on_size) == (1, False)
    assert not SubImagesConfig(grid=BestGridConfig(min_tiles=4, max_tiles=4)).depends_on_size


def test_policies_are_values() -> None:
    config = override(WHOLE, ["grid.kind=best", "grid.max_tiles=16", "overview=last", "background=[0,0,0]"])
    assert config.grid == BestGridConfig(min_tiles=4, max_tiles=16)
    assert from_json(SubImagesConfig, to_json(config)) == config
    with pytest.raises(ValidationError, match="min_tiles is 5 and max_tiles 4"):
        BestGridConfig(min_tiles=5, max_tiles=4)
