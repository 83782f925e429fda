"""What is kept is what was put there, within bounds, and the least recently used goes first."""

import numpy as np
import pytest
import torch

from mm1.generate.memory import ImageMemory, PrefixMemory, version
from mm1.models.attention import LayerCache


def pictures(*numbers: int) -> list[np.ndarray]:
    return [np.full((2, 2, 3), number, np.uint8) for number in numbers]


class Encoder:
    """Features that tell the picture; remembers how many it was given at once."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, images: np.ndarray) -> torch.Tensor:
        self.calls.append(len(images))
        return torch.from_numpy(images[:, :1, :1, 0].astype(np.float32)).expand(-1, 4, 5)


def test_equal_pixels_have_equal_numbers_and_other_shapes_do_not() -> None:
    memory = ImageMemory(100)
    first, second, again = memory.number([*pictures(1, 2, 1)])
    assert first == again != second
    assert memory.number(pictures(2)) == [second]
    assert memory.number([np.full((4, 1, 3), 1, np.uint8)])[0] not in (first, second)


def test_images_are_encoded_once_while_there_is_room() -> None:
    memory, encode = ImageMemory(8), Encoder()  # two images of four positions
    images = dict(enumerate(pictures(10, 20, 30)))
    for asked, encoded in (([0, 1], 2), ([0], 0), ([2], 1), ([0], 0), ([1], 1)):
        encode.calls.clear()
        found = memory.features({number: images[number] for number in asked}, encode)
        assert {number: float(features[0, 0]) for number, features in found.items()} == {
            number: 10 * (number + 1) for number in asked
        }
        assert sum(encode.calls) == encoded
    memory.clear()
    memory.features({0: images[0]}, encode)
    assert encode.calls == [1, 1]


def test_more_images_than_there_is_room_for_are_all_returned() -> None:
    found = ImageMemory(0).features(dict(enumerate(pictures(*range(200)))), Encoder())
    assert [float(found[number][0, 0]) for number in range(200)] == list(range(200))


def cache(length: int, rows: int = 1) -> list[LayerCache]:
    filled = [LayerCache.allocate(rows, 1, length, 2) for _ in range(2)]
    for layer in filled:
        layer.keys.copy_(torch.rand(layer.keys.shape))
    return filled


def keys(text: str) -> np.ndarray:
    return np.array([ord(letter) for letter in text])


@pytest.mark.parametrize(("only_whole", "found"), [(True, 3), (False, 5)])
def test_the_longest_beginning_is_found(only_whole: bool, found: int) -> None:
    memory = PrefixMemory(100, only_whole=only_whole)
    for text in ("shots one", "sho"):
        memory.keep(keys(text), cache(20), 0)
    assert memory.longest(keys("shotX two"))[0] == (3 if only_whole else 4)
    assert memory.longest(keys("shots"))[0] == found
    assert memory.longest(keys("other")) == (0, None)
    assert memory.longest(keys("shots one, and more"))[0] == 9


def test_the_row_is_copied() -> None:
    memory, rows = PrefixMemory(100, only_whole=True), cache(6, rows=3)
    wanted = rows[1].keys[2, :, :4].clone()
    memory.keep(keys("abcd"), rows, 2)
    rows[1].keys.zero_()
    prefix = memory.longest(keys("abcdef"))[1]
    assert prefix is not None
    assert torch.equal(prefix.cache[1].keys[0, :, :4], wanted)


def test_what_was_not_used_for_longest_goes_first() -> None:
    memory = PrefixMemory(10, only_whole=True)
    for text in ("aaaa", "bbbb"):
        memory.keep(keys(text), cache(4), 0)
    memory.longest(keys("aaaa"))
    memory.keep(keys("cccc"), cache(4), 0)
    assert [memory.longest(keys(text))[0] for text in ("aaaa", "bbbb", "cccc")] == [4, 0, 4]
    memory.keep(keys("d" * 11), cache(11), 0)  # never fits, so nothing goes for it
    assert [memory.longest(keys(text))[0] for text in ("aaaa", "cccc", "d" * 11)] == [4, 4, 0]


def test_a_longer_prefix_takes_the_place_of_its_own_beginning() -> None:
    memory = PrefixMemory(10, only_whole=False)
    for text in ("xx", "aaa", "aaaaaaaa"):
        memory.keep(keys(text), cache(8), 0)
    assert [memory.longest(keys(text))[0] for text in ("xx", "aaaaaaaa")] == [2, 8]


def test_a_version_changes_with_weights_and_buffers() -> None:
    module = torch.nn.BatchNorm1d(2)
    before = version(module)
    assert version(module) == before
    with torch.no_grad():
        module.weight.add_(1)
    changed = version(module)
    module.running_mean.add_(1)
    assert len({before, changed, version(module), version(module.double())}) == 4
