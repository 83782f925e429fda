"""No address inside is connected to: not by its number, its name, a second look-up or a redirect."""

import pytest

from mm1.curation.fetch import fetch
from tests.curation.fetch.misbehaving_server import PNG, Server, answer, ok


@pytest.mark.parametrize("robots", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_an_address_inside_is_not_connected_to(host: str, robots: bool) -> None:
    with Server({"/x": ok(PNG)}) as server:
        [got] = server.fetch([f"http://{host}/x"], robots=robots)
        assert (got.reason, got.permanent, server.asked) == ("private_address", True, [])


@pytest.mark.parametrize("robots", [True, False])
def test_a_name_that_leads_inside_is_not_connected_to(robots: bool) -> None:
    with Server({"/x": ok(PNG)}) as server:
        [got] = server.fetch(["http://a.test/x"], resolve=lambda host: ["127.0.0.3", "fd00::1"], robots=robots)
        assert (got.reason, server.asked) == ("private_address", [])


def test_a_name_that_leads_inside_the_second_time_is_not_connected_to() -> None:
    answers = {"a.test": iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]])}
    with Server({"/x": ok(PNG, Connection="close"), "/robots.txt": answer(404, Connection="close")}) as server:
        assert server.fetch(["http://a.test/x"], resolve=lambda host: next(answers[host]))[0].data == PNG
        [got] = server.fetch(["http://a.test/x"], resolve=lambda host: next(answers[host]))
    assert got.reason == "private_address"


def test_of_several_addresses_only_allowed_ones_are_used() -> None:
    with Server({"/x": ok(PNG)}) as server:
        [got] = server.fetch(["http://a.test/x"], resolve=lambda host: ["10.0.0.1", "127.0.0.1", "::1"])
    assert got.data == PNG


def test_a_name_that_does_not_exist_is_looked_up_once() -> None:
    asked = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return []

    with Server({}) as server:
        got = server.fetch([f"http://a.test/{number}" for number in range(20)], resolve=resolve)
    assert {(item.reason, item.permanent) for item in got} == {("no_such_host", False)}
    assert asked == ["a.test"]


def test_a_port_where_nobody_listens_is_given_up_after_a_few_tries() -> None:
    with Server({}) as server:
        config = server.config(retries=1)
        urls = [f"http://127.0.0.1:{server.port}/{number}" for number in range(30)]
    got = list(fetch(urls, config))
    assert {item.reason for item in got} == {"connection_failed"}
    assert len(got) == 30


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/x", "too_many_redirects"),
        ("http://127.0.0.2:PORT/x", "private_address"),
        ("http://169.254.169.254/latest/meta-data", "private_address"),
        ("http://[::1]:PORT/", "private_address"),
        ("http://0x7f.1/", "bad_host"),
        ("http://a.test:22/", "bad_port"),
        ("http://me@a.test:PORT/", "credentials"),
        ("file:///etc/passwd", "not_http"),
        ("ftp://a.test/", "not_http"),
        ("data:image/png;base64,AAAA", "not_http"),
        ("http://[", "bad_url"),
        ("http://inside.test:PORT/", "private_address"),
    ],
)
def test_a_redirect_is_checked_like_a_new_address(location: str, reason: str) -> None:
    with Server({}) as server:
        server.routes["/x"] = answer(302, b"moved", Location=location.replace("PORT", str(server.port)))
        resolve = {"a.test": ["127.0.0.1"], "inside.test": ["127.0.0.9"]}.__getitem__
        [got] = server.fetch(["http://a.test/x"], resolve=resolve, max_redirects=3)
        assert (got.reason, got.permanent) == (reason, True)
        assert server.paths() == ["/x"] * (4 if reason == "too_many_redirects" else 1)
