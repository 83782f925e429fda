"""What was downloaded stays, and no address is asked twice, however a run ended."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from mm1.curation import downloads
from mm1.curation.downloads import Downloads, by_host
from mm1.curation.fetch import FetchConfig, Fetched, Tombstones

URLS = [f"https://a.example/{number}" for number in range(5)]
CONFIG = FetchConfig()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the network was asked for: /3 is not there, the others have their own bytes."""
    found: list[str] = []

    def fetch(urls: Iterable[str], config: FetchConfig, tombstones: Tombstones) -> Iterator[Fetched]:
        for url in urls:
            if (failed := tombstones.recall(url)) is not None:
                yield failed
                continue
            found.append(url)
            if url.endswith("3"):
                got = Fetched(url, reason="http_404", permanent=True)
            else:
                got = Fetched(url, f"bytes\nof {url}".encode(), final_url=url, media_type="image/png", charset="x")
            tombstones.record(got)
            yield got

    monkeypatch.setattr(downloads, "fetch", fetch)
    return found


def by_url(found: Iterable[Fetched]) -> dict[str, Fetched]:
    return {got.url: got for got in found}


def test_what_is_there_is_not_asked_again_and_is_the_same(tmp_path: Path, asked: list[str]) -> None:
    with Downloads(tmp_path / "d", CONFIG) as store:
        first = by_url(store.download(URLS[:4]))
    assert first[URLS[0]].data == b"bytes\nof https://a.example/0"
    assert first[URLS[3]].reason == "http_404"
    with Downloads(tmp_path / "d", CONFIG) as store:
        second = by_url(store.download(URLS))
        assert {url: second[url] for url in URLS[:4]} == first
        assert by_url(store.download(URLS)) == second
    assert asked == URLS


@pytest.mark.parametrize("lost", [1, 20, 100])
def test_a_torn_log_keeps_its_whole_entries(tmp_path: Path, asked: list[str], lost: int) -> None:
    with Downloads(tmp_path, CONFIG) as store:
        first = by_url(store.download(URLS[:3]))
    log = tmp_path / "bytes.log"
    log.write_bytes(log.read_bytes()[:-lost])
    with Downloads(tmp_path, CONFIG) as store:
        assert by_url(store.download(URLS[:3])) == first
    assert asked == [*URLS[:3], URLS[2]], "only the last one was lost"
    with Downloads(tmp_path, CONFIG) as store:
        assert by_url(store.download(URLS[:3])) == first
    assert len(asked) == 4


def test_a_run_that_is_left_in_the_middle_keeps_what_came(tmp_path: Path, asked: list[str]) -> None:
    with Downloads(tmp_path, CONFIG) as store:
        next(iter(store.download(URLS)))
    with Downloads(tmp_path, CONFIG) as store:
        list(store.download(URLS))
    assert asked == URLS


def test_what_was_asked_for_together_is_found_by_whoever_asks_for_a_part_of_it(
    tmp_path: Path, asked: list[str]
) -> None:
    with Downloads(tmp_path, CONFIG, lambda url: f"shelf-{int(url[-1]) % 2}") as store:
        first = by_url(store.download(URLS))
    for number in (0, 1):
        with Downloads(tmp_path / f"shelf-{number}", CONFIG) as store:
            assert by_url(store.download(URLS[number::2])) == {url: first[url] for url in URLS[number::2]}
    assert asked == URLS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shelf-0", "shelf-1"]


def test_offline_nobody_is_asked(tmp_path: Path, asked: list[str]) -> None:
    with Downloads(tmp_path, CONFIG) as store:
        list(store.download(URLS[:1]))
        found = by_url(store.stored(URLS[:2]))
    assert found[URLS[0]].data is not None
    assert found[URLS[1]] == Fetched(URLS[1], reason="offline")
    assert asked == URLS[:1]


def test_nothing_of_the_outcome_is_lost_in_the_log(tmp_path: Path, asked: list[str]) -> None:
    def outcome(ask: Callable[[Downloads], Iterator[Fetched]]) -> Fetched:
        with Downloads(tmp_path, CONFIG) as store:
            return next(ask(store))

    assert outcome(lambda store: store.download(URLS[:1])) == outcome(lambda store: store.stored(URLS[:1]))


HEAD = '{"url": "https://a.example/2", "final_url": "", "media_type": "", "charset": "", "size": %s}\nabc'


@pytest.mark.timeout(20)  # entries of negative size would be gone round for ever
@pytest.mark.parametrize(
    "rubbish",
    [
        *(b"\0" * 4096 + b"\n", b'{"url": "https:\n', b'{"size": 3}\nabc', b"[]\n", b"\xff\n", b"[" * 100_000 + b"\n"),
        *((HEAD % size).encode() for size in ('"3"', "3.0", "null", "true", "[3]", "-90", "1e999", "9" * 30)),
        (HEAD % 3).replace('"https://a.example/2"', "7").encode(),
        (HEAD % 3).replace('"charset": ""', '"charset": {}').encode(),
    ],
)
def test_what_a_failing_machine_left_behind_the_whole_entries_is_cut_off(
    tmp_path: Path, asked: list[str], rubbish: bytes
) -> None:
    with Downloads(tmp_path, CONFIG) as store:
        first = by_url(store.download(URLS[:2]))
    with (tmp_path / "bytes.log").open("ab") as log:
        log.write(rubbish)
    asked.clear()
    for _ in range(2):
        with Downloads(tmp_path, CONFIG) as store:
            assert by_url(store.download(URLS[:3])).items() >= first.items()
    assert asked == URLS[2:3]


def test_addresses_are_kept_by_their_hosts_whatever_list_names_them(tmp_path: Path, asked: list[str]) -> None:
    urls = [f"https://{host}.example/{number}" for number in range(2) for host in "abcdefgh"]
    for wanted in (urls[:5], urls[3:12], list(reversed(urls))):
        with Downloads(tmp_path, CONFIG, by_host(4)) as store:
            assert set(by_url(store.download(iter(wanted)))) == set(wanted)
    assert sorted(asked) == sorted(urls)
    assert {path.name for path in tmp_path.iterdir()} <= {f"bucket-{number:05d}" for number in range(1, 5)}


def test_shelves_are_opened_in_one_order_so_that_no_two_processes_wait_in_a_ring(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def locked(path: Path, what: str, wait: bool) -> nullcontext[None]:
        opened.append(path.parent.name)
        return nullcontext()

    monkeypatch.setattr(downloads, "locked", locked)
    with Downloads(tmp_path, CONFIG, lambda url: url[-1]) as store:
        list(store.download(reversed(URLS)))
    assert opened == sorted(opened) == ["0", "1", "2", "3", "4"]
