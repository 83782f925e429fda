"""Headers and tags that refuse the use for training."""

import pytest

from mm1.curation.fetch import FetchConfig
from mm1.curation.fetch.opt_out import page_refusal, refusal

CONFIG = FetchConfig()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("noai", "opt_out"),
        ("NoImageAI", "opt_out"),
        ("nofollow, noindex", "opt_out"),
        ("none", "opt_out"),
        ("mm1: noai", "opt_out"),
        ("gptbot: noindex", "opt_out"),
        ("otherbot: nofollow, mm1: noai", "opt_out"),
        ("otherbot: noai, noindex", ""),
        ("max-snippet: 5, noai", "opt_out"),
        ("unavailable_after: 25 Jun 2027 15:00:00 PST", ""),
        ("all, nofollow, noarchive", ""),
        ("", ""),
    ],
)
def test_x_robots_tag(value: str, reason: str) -> None:
    assert refusal([("Content-Type", "x"), ("x-robots-TAG", value)], CONFIG) == reason


def test_every_header_of_several_counts() -> None:
    assert refusal([("X-Robots-Tag", "other: noai"), ("X-Robots-Tag", "noai")], CONFIG) == "opt_out"


def test_tdm_reservation() -> None:
    assert refusal([("TDM-Reservation", " 1 ")], CONFIG) == "tdm_reservation"
    assert refusal([("tdm-reservation", "0")], CONFIG) == ""


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ('<meta name="robots" content="noai">', "opt_out"),
        ("<META CONTENT='index, NOIMAGEAI' NAME=Robots />", "opt_out"),
        ('<meta name="mm1" content="noindex">', "opt_out"),
        ('<meta name="otherbot" content="noai">', ""),
        ('<meta name="description" content="noai">', ""),
        ("<meta name=tdm-reservation content=1>", "tdm_reservation"),
        ('<meta name="tdm-reservation" content="0">', ""),
        ('<p>meta name="robots" content="noai"</p>', ""),
        ("", ""),
    ],
)
def test_tags_of_a_page(html: str, reason: str) -> None:
    assert page_refusal(f"<!doctype html><head>{html}</head>".encode(), CONFIG) == reason


def test_all_of_it_can_be_ignored() -> None:
    config = FetchConfig(opt_out=(), tdm_reservation=False)
    assert refusal([("X-Robots-Tag", "noai"), ("tdm-reservation", "1")], config) == ""
    assert page_refusal(b'<meta name="robots" content="noai"><meta name="tdm-reservation" content="1">', config) == ""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", [b"<meta " + b"a" * 1990 + b">", b"<meta ", b"<meta a = = = ", b"<meta x='" + b"a=" * 900 + b">"]
)
def test_a_hostile_head_takes_no_time(piece: bytes) -> None:
    page_refusal(piece * (300_000 // len(piece)), CONFIG)
