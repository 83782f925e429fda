"""A prompt kept as text comes back as header, shots and query."""

from __future__ import annotations

from mm1.chain.page.prompts import Picture, Piece, read_prompt


def plain(pieces: tuple[Piece, ...]) -> list[str]:
    return [piece.file if isinstance(piece, Picture) else piece for piece in pieces]


def test_header_shots_and_query() -> None:
    sample = {
        "prompt": "words: a b\n‹image 0› a\n‹image 1› ‹image 0› b\n‹image 2›it is",
        "images": ["x.png", "y.png", "z.png"],
        "shots": 2,
    }
    prompt = read_prompt(sample)
    assert plain(prompt.header) == ["words: a b"]
    assert [plain(shot) for shot in prompt.shots] == [["x.png", " a"], ["y.png", " ‹image 0› b"]]
    assert plain(prompt.query) == ["z.png", "it is"]


def test_without_shots_everything_is_the_query_line_breaks_included() -> None:
    prompt = read_prompt({"prompt": "user: ‹image 0›what?\nassistant:", "images": ["x.png"], "shots": 0})
    assert (prompt.header, prompt.shots) == ((), ())
    assert plain(prompt.query) == ["user: ", "x.png", "what?\nassistant:"]


def test_nothing_is_lost_where_lines_and_shots_do_not_agree() -> None:
    prompt = read_prompt({"prompt": "one line ‹image 0›", "images": ["x.png"], "shots": 8})
    assert plain(prompt.query) == ["one line ", "x.png"]
    assert read_prompt({"prompt": "", "shots": 0}).query == ()
