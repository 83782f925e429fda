"""robots.txt as RFC 9309 has it."""

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.fetch.robots import MAX_BYTES, parse_robots


def allows(text: str, path: str, *names: str) -> bool:
    return parse_robots(text.encode(), names or ("mm1",)).allows(path)


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("Disallow: /", "/x", False),
        ("Disallow:", "/x", True),
        ("Disallow: /fish", "/fish.html", False),
        ("Disallow: /fish", "/Fish.html", True),
        ("Disallow: /fish", "/catfish", True),
        ("Disallow: /fish/", "/fish", True),
        ("Disallow: /fish*", "/fishheads/yummy.html", False),
        ("Disallow: /*.php", "/folder/any.php.file.html", False),
        ("Disallow: /*.php$", "/folder/filename.php", False),
        ("Disallow: /*.php$", "/filename.php?parameters", True),
        ("Disallow: /*.php$", "/filename.php5.php", False),
        ("Disallow: /fish*.php", "/fishheads/catfish.php?x", False),
        ("Disallow: /fish*.php", "/Fish.PHP", True),
        ("Disallow: /a*bc*bc$", "/a bc", True),
        ("Disallow: /a$", "/a", False),
        ("Disallow: /a$", "/ab", True),
        ("Disallow: *", "/x", False),
        ("Disallow: **/x", "/y/x", False),
        ("Allow: /p\nDisallow: /", "/page", True),
        ("Disallow: /\nAllow: /p", "/page", True),
        ("Allow: /folder\nDisallow: /folder", "/folder/page", True),
        ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("Allow: /$\nDisallow: /", "/", True),
        ("Allow: /$\nDisallow: /", "/page.htm", False),
        ("Disallow: /a?q=", "/a?q=1", False),
        ("Disallow: /ツ", "/%E3%83%84", False),
        ("Disallow: /%e3%83%84", "/%E3%83%84/x", False),
        ("Disallow: /foo/%62ar", "/foo/bar", False),
        ("Disallow: /foo/bar", "/foo/%62ar", False),
        ("Disallow: /a%2Fb", "/a/b", True),
        ("Disallow: /a%2A", "/a*", False),
        ("Disallow: /a%2A", "/abc", True),
        ("Disallow: /a%24", "/a$", False),
        ("Disallow: /a$b", "/a$b", False),
        ("Disallow : /x # why", "/x", False),
        ("disallow /x", "/x", False),
        ("Disallow: x", "/x", True),
        ("Sitemap: /x\nDisallow: /y", "/y", False),
    ],
)
def test_the_longest_pattern_decides(rules: str, path: str, allowed: bool) -> None:
    assert allows(f"User-agent: *\n{rules}\n", path) == allowed


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", True),
        ("Disallow: /", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: mm1\nDisallow: /other", True),
        ("User-agent: MM1\nDisallow: /", False),
        ("User-agent: mm1/2.0 (x)\nDisallow: /", False),
        ("User-agent: mm10\nDisallow: /", True),
        ("User-agent: mm\nDisallow: /", True),
        ("User-agent: a\nUser-agent: mm1\nUser-agent: b\nDisallow: /", False),
        ("User-agent: mm1\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: mm1\nDisallow: /x", False),
        ("User-agent: mm1\n\n\nDisallow: /", False),
        ("User-agent: mm1\nSitemap: /s\nUser-agent: b\nDisallow: /", False),
        ("User-agent: mm1\nCrawl-delay: 3\nUser-agent: b\nDisallow: /", False),
        ("User-agent: mm1\nAllow: /y\nUser-agent: b\nDisallow: /", True),
        ("\ufeffUser-agent: *\rDisallow: /", False),
        ("User-agent: *\r\nDisallow: /\r\n", False),
        ("<html><body>Not found</body></html>", True),
    ],
)
def test_whose_rules_they_are(text: str, allowed: bool) -> None:
    assert allows(text, "/x") == allowed


def test_names_of_known_collectors_bind_us_unless_we_are_named() -> None:
    shut_out = "User-agent: GPTBot\nDisallow: /\n\nUser-agent: *\nDisallow: /private\n\n"
    assert allows(shut_out, "/x", "mm1")
    assert not allows(shut_out, "/x", "mm1", "CCBot", "GPTBot")
    assert not allows(shut_out, "/private", "mm1", "CCBot")
    assert allows(shut_out + "User-agent: mm1\nAllow: /", "/private", "mm1", "GPTBot")


def test_crawl_delay_is_the_longest_that_binds_us() -> None:
    assert parse_robots(b"User-agent: *\nCrawl-delay: 2.5", ["mm1"]).crawl_delay == 2.5
    assert parse_robots(b"User-agent: *\nCrawl-delay: inf", ["mm1"]).crawl_delay == 0
    both = b"User-agent: *\nDisallow: /x\nCrawl-delay: 2\n\nUser-agent: GPTBot\nDisallow: /y\nCrawl-delay: 7"
    assert parse_robots(both, ["mm1", "GPTBot"]).crawl_delay == 7


@given(st.text("ab*$/", max_size=8), st.text("ab/$*", max_size=8))
def test_patterns_match_as_the_regular_expression_of_the_rfc(pattern: str, path: str) -> None:
    body, end = (pattern[:-1], r"\Z") if pattern.endswith("$") else (pattern, "")
    expected = re.match("/" + ".*".join(re.escape(piece) for piece in body.split("*")) + end, "/" + path)
    assert allows(f"User-agent: *\nDisallow: /{pattern}", "/" + path) == (expected is None)


@given(st.binary(max_size=300) | st.text("user-agent: *\nallow: /dis$%#\r2E ").map(str.encode), st.text())
def test_no_file_is_an_error(text: bytes, path: str) -> None:
    parse_robots(text, ["mm1", "gptbot"]).allows("/" + path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "line", ["disallow" + " " * 400_000 + "x", "disallow:/" + "*a" * 200_000, "user-agent" * 40_000]
)
def test_a_hostile_line_takes_no_time(line: str) -> None:
    parse_robots(b"User-agent: *\n" + line.encode(), ["mm1"]).allows("/" + "a" * 8000 + "b")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["user-agent:*\n", "user-agent:a{}\n"])
def test_as_many_rules_as_names_take_no_memory_for_each_pair(name: str) -> None:
    names = "".join(name.format(number) for number in range(10_000))
    tracemalloc.start()
    robots = parse_robots((names + "user-agent: mm1\n" + "disallow:/a\n" * 10_000).encode(), ["mm1"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not robots.allows("/a")
    assert peak < 20 << 20  # one list of 10,000 rules, not 10,000


def test_more_than_the_limit_is_not_read() -> None:
    assert allows("#" * MAX_BYTES + "\nUser-agent: *\nDisallow: /", "/x")
