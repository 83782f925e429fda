"""Turns of hosts, in a time that the test makes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.fetch import FetchConfig
from mm1.curation.fetch.robots import Robots, parse_robots
from mm1.curation.fetch.schedule import MAX_IDLE_HOSTS, ROBOTS_SECONDS, Job, Request, Schedule
from mm1.curation.fetch.urls import parse_url


def request(url: str) -> Request:
    return Request(url, parse_url(url))


def take_all(schedule: Schedule, now: float) -> list[Job]:
    jobs = []
    while job := schedule.take(now):
        jobs.append(job)
    return jobs


def config(**changes: object) -> FetchConfig:
    return FetchConfig(**{"robots": False, "host_delay_seconds": 1.0, "per_host": 2, **changes})


def test_a_host_is_asked_by_so_many_and_so_often_and_others_go_on() -> None:
    schedule = Schedule(config())
    for number in range(4):
        schedule.add(request(f"http://a.example/{number}"), now=0)
    schedule.add(request("http://b.example/"), now=0)
    first = take_all(schedule, 0)
    assert [job.request.url for job in first] == ["http://a.example/0", "http://b.example/"]
    assert schedule.next_time() == 1
    assert schedule.take(0.99) is None
    [second] = take_all(schedule, 1)
    assert schedule.next_time() is None  # two are under way
    schedule.done(first[0])
    assert schedule.next_time() == 2
    assert [job.request.url for job in take_all(schedule, 5)] == ["http://a.example/2"]
    schedule.done(second)
    assert [job.request.url for job in take_all(schedule, 6)] == ["http://a.example/3"]


def test_what_waits_for_its_time_does_not_hold_up_its_host() -> None:
    schedule = Schedule(config(host_delay_seconds=0))
    schedule.add(request("http://a.example/later"), now=0, not_before=50)
    assert schedule.next_time() == 50
    schedule.add(request("http://a.example/now"), now=0)
    assert [job.request.url for job in take_all(schedule, 0)] == ["http://a.example/now"]
    assert schedule.next_time() == 50
    assert [job.request.url for job in take_all(schedule, 50)] == ["http://a.example/later"]


def test_a_pause_holds_for_the_whole_host() -> None:
    schedule = Schedule(config())
    for number in range(2):
        schedule.add(request(f"http://a.example/{number}"), now=0)
    [job] = take_all(schedule, 0)
    schedule.pause(job.host, 30)
    assert schedule.next_time() == 30


def test_robots_txt_comes_first_once_for_each_site_and_again_after_a_day() -> None:
    schedule = Schedule(config(robots=True, host_delay_seconds=0))
    for url in ["http://a.example/1", "http://a.example/2", "https://a.example/3"]:
        schedule.add(request(url), now=0)
    [job] = take_all(schedule, 0)
    assert job.reads_robots
    schedule.learn(job, Robots(), 0)
    schedule.done(job)
    jobs = take_all(schedule, 0)
    assert [(job.request.url, job.reads_robots) for job in jobs] == [
        ("http://a.example/1", False),
        ("http://a.example/2", False),
    ]
    for job in jobs:
        schedule.done(job)
    [job] = take_all(schedule, 0)
    assert (job.request.url, job.reads_robots) == ("https://a.example/3", True)
    schedule.done(job)
    schedule.add(request("http://a.example/4"), now=ROBOTS_SECONDS)
    assert take_all(schedule, ROBOTS_SECONDS)[0].reads_robots


def test_crawl_delay_lengthens_the_wait() -> None:
    schedule = Schedule(config(robots=True))
    for number in range(2):
        schedule.add(request(f"http://a.example/{number}"), now=0)
    [job] = take_all(schedule, 0)
    schedule.learn(job, parse_robots(b"User-agent: *\nCrawl-delay: 7", ["mm1"]), 0)
    schedule.done(job)
    assert schedule.next_time() == 7
    [job] = take_all(schedule, 7)
    schedule.done(job)
    assert schedule.next_time() == 14


def test_a_closed_site_gives_back_its_requests_and_takes_no_more_while_its_neighbour_goes_on() -> None:
    schedule = Schedule(config(host_delay_seconds=0, per_host=1))
    urls = ["https://a.example/0", "https://a.example/1", "http://a.example/2", "https://a.example/3"]
    for url in urls:
        schedule.add(request(url), now=0)
    [job] = take_all(schedule, 0)
    assert [given_up.url for given_up in schedule.close(job, "host_down")] == [urls[1], urls[3]]
    assert schedule.add(request(urls[1]), now=0) == "host_down"
    schedule.done(job)
    assert [job.request.url for job in take_all(schedule, 0)] == [urls[2]]


def test_memory_does_not_grow_with_the_hosts_that_ever_were() -> None:
    schedule = Schedule(config())
    for number in range(10 * MAX_IDLE_HOSTS):
        schedule.add(request(f"http://h{number}.example/"), now=number)
        for job in take_all(schedule, number):
            schedule.done(job)
    assert len(schedule._hosts) <= 2 * MAX_IDLE_HOSTS


@pytest.mark.parametrize("robots", [False, True])
@given(
    hosts=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    durations=st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.75]), min_size=1, max_size=10),
    delay=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_everything_is_asked_once_and_no_limit_is_ever_broken(
    robots: bool, hosts: list[int], durations: list[float], delay: float
) -> None:
    schedule = Schedule(config(robots=robots, host_delay_seconds=delay))
    for number, host in enumerate(hosts):
        schedule.add(request(f"http://h{host}.example/{number}"), now=0)
    now, under_way, asked, last = 0.0, [], [], {}
    while under_way or schedule.next_time() is not None:
        ends = [when for when, _ in under_way]
        now = max(now, min([*ends, *([schedule.next_time()] if schedule.next_time() is not None else [])]))
        for entry in [entry for entry in under_way if entry[0] <= now]:
            under_way.remove(entry)
            if entry[1].reads_robots:
                schedule.learn(entry[1], Robots(), now)
            schedule.done(entry[1])
        for job in take_all(schedule, now):
            assert now - last.get(job.host.name, -9) >= delay
            last[job.host.name] = now
            under_way.append((now + durations[len(asked) % len(durations)], job))
            assert sum(other.host is job.host for _, other in under_way) <= 2
            asked += [] if job.reads_robots else [job.request.url]
    assert sorted(asked) == sorted(f"http://h{host}.example/{number}" for number, host in enumerate(hosts))
