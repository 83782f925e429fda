"""What is said of a finished stage's mixture."""

from __future__ import annotations

from mm1.train.outcome import mixture_lines


def test_the_mixture_is_told_as_it_came_out() -> None:
    account = {
        "measure": "target_tokens",
        "declared": {"pages": 0.5, "captions": 0.4, "text": 0.1},
        "realised": {"pages": 0.52, "captions": 0.37, "text": 0.11},
        "epochs": {"pages": 3.21, "captions": 0.5, "text": 1.0},
    }
    shares, epochs = mixture_lines(account)
    assert shares == "mixture by target tokens: shares within 3.0 points of what was asked for"
    assert epochs.strip() == "sources read 0.5 times (captions) to 3.2 (pages)"
