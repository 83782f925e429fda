"""The words of the synthetic world. Short, distinct, and few, so that a tiny model can learn them in minutes."""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "orange": (245, 140, 20),
    "yellow": (238, 214, 40),
    "green": (40, 160, 60),
    "blue": (40, 90, 220),
    "purple": (140, 60, 180),
    "brown": (130, 84, 44),
    "black": (28, 28, 28),
}
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
SIZES = ("small", "large")
DIGITS = tuple("0123456789")
COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

ROWS = {1: ("middle",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
COLUMNS = {1: ("centre",), 2: ("left", "right"), 3: ("left", "centre", "right")}

NOVEL_WORDS = (
    "dax", "wug", "zib", "fep", "blick", "toma", "kiki", "lorp", "nix", "vung", "gorp", "tulver", "quib", "zand",
    "mep", "yorl", "fiff", "hask", "jop", "plim", "rask", "snib", "trop", "vex", "wim", "yad", "zock", "bem", "cuf",
    "dorn", "gax", "hep"
)  # fmt: skip
"""Words without meaning: only the page on which one stands says what it is."""

NAMES = (
    "mia", "tom", "ada", "leo", "zoe", "sam", "eva", "max", "ida", "ben", "amy", "joe"
)  # fmt: skip
LIKES = (
    "tea", "figs", "rice", "jam", "plums", "soup", "nuts", "corn", "pears", "honey", "bread", "cheese"
)  # fmt: skip
CITIES = (
    "rome", "oslo", "lima", "cairo", "delhi", "paris", "tokyo", "quito", "bern", "dakar", "sofia", "minsk"
)  # fmt: skip
PETS = (
    "dog", "cat", "owl", "fox", "goat", "frog", "duck", "bear", "mouse", "horse", "snake", "crab"
)  # fmt: skip


def with_article(phrase: str) -> str:
    """The phrase behind "a" or "an"."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
