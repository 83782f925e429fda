"""Whose turn it is: many hosts side by side, each asked seldom and by few requests at once.

    schedule.add(Request(...), now)
    job = schedule.take(now)          # a request whose host may be asked now, or its robots.txt first; None: wait
    schedule.done(job)                # it is over
    schedule.next_time()              # when the next turn comes

Each host has a heap of its requests by the earliest time they may go, and stands in the heap of hosts under the time of
its own next turn; hosts whose turns came at the same time go in the order in which they came. Time is a number of
seconds that the caller passes in, so a test needs no clock. Knows nothing of HTTP or asyncio.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field

from yarl import URL

from mm1.curation.fetch.config import FetchConfig
from mm1.curation.fetch.robots import Robots

MAX_IDLE_HOSTS = 1000
"""Hosts without requests that are remembered, with their robots.txt."""
ROBOTS_SECONDS = 86_400.0
"""How long robots.txt counts, as RFC 9309 allows."""


@dataclass(slots=True)
class Request:
    """An address on its way: as it was given, and where it has got to."""

    url: str
    target: URL
    redirects: int = 0
    tries: int = 0
    """Failed ones, at this target."""


@dataclass(slots=True)
class Site:
    """A host under one scheme and port: what has one robots.txt, and can be down while its neighbour is up."""

    robots: Robots | None = None
    read: float = 0.0
    """When robots.txt was read."""
    robots_tries: int = 0
    failures: int = 0
    """In a row, of those that speak against the site as a whole."""
    closed: str = ""
    """Why nothing more is asked of it in this run."""


@dataclass(slots=True)
class Host:
    """A host name, its sites, its waiting requests and its manners."""

    name: str
    sites: dict[tuple[str, int | None], Site] = field(default_factory=dict)
    """By scheme and port."""
    waiting: list[tuple[float, int, Request]] = field(default_factory=list)
    active: int = 0
    next_time: float = 0.0
    """Before it no request goes out."""
    scheduled: float | None = None
    """The time under which it stands in the heap of hosts."""
    reads_robots: bool = False
    """A request for robots.txt is under way; the others wait for it."""

    def site(self, target: URL) -> Site:
        """The one that `target` belongs to."""
        return self.sites.setdefault((target.scheme, target.port), Site())

    @property
    def crawl_delay(self) -> float:
        """Seconds that its robots.txt wants between two requests."""
        return max((site.robots.crawl_delay for site in self.sites.values() if site.robots), default=0.0)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be asked now: a request's target, or the robots.txt that must be read before it."""

    host: Host
    site: Site
    request: Request
    reads_robots: bool


class Schedule:
    """The turns of all hosts."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._hosts: dict[str, Host] = {}
        self._turns: list[tuple[float, int, Host]] = []
        self._numbers = itertools.count()
        self._forget_at = 2 * MAX_IDLE_HOSTS

    def add(self, request: Request, now: float, not_before: float = 0.0) -> str:
        """Queues a request with its target's host; returns why that is closed, where it is, and does not queue it."""
        name = request.target.raw_host
        assert name is not None  # parse_url sees to it
        host = self._hosts.get(name)
        if host is None:
            self._forget_idle(now)
            host = self._hosts[name] = Host(name)
        site = host.site(request.target)
        if not site.closed:
            heapq.heappush(host.waiting, (not_before, next(self._numbers), request))
            self._plan(host)
        return site.closed

    def take(self, now: float) -> Job | None:
        """What may go out at `now`; its host counts one more active request until `done`."""
        while self._turns and self._turns[0][0] <= now:
            when, _, host = heapq.heappop(self._turns)
            if host.scheduled != when:
                continue  # planned anew since
            host.scheduled = None
            request = host.waiting[0][2]
            site = host.site(request.target)
            known = site.robots is not None and now - site.read < ROBOTS_SECONDS
            host.reads_robots = self._config.robots and not known
            if not host.reads_robots:
                heapq.heappop(host.waiting)
            host.active += 1
            host.next_time = now + max(self._config.host_delay_seconds, host.crawl_delay)
            self._plan(host)
            return Job(host, site, request, host.reads_robots)
        return None

    def done(self, job: Job) -> None:
        """What `take` gave is over."""
        job.host.active -= 1
        job.host.reads_robots = job.host.reads_robots and not job.reads_robots
        self._plan(job.host)

    def learn(self, job: Job, robots: Robots, now: float) -> None:
        """Remembers what a robots.txt said."""
        job.site.robots, job.site.read, job.site.robots_tries = robots, now, 0
        self.pause(job.host, now + robots.crawl_delay)

    def pause(self, host: Host, until: float) -> None:
        """No request goes to `host` before `until`."""
        host.next_time = max(host.next_time, until)
        self._plan(host)

    def close(self, job: Job, reason: str) -> list[Request]:
        """Nothing more is asked of the job's site in this run; returns what waited for it."""
        host, site = job.host, job.site
        site.closed = site.closed or reason
        given_up = [entry for entry in host.waiting if host.site(entry[2].target) is site]
        host.waiting = [entry for entry in host.waiting if host.site(entry[2].target) is not site]
        heapq.heapify(host.waiting)
        self._plan(host)
        return [request for _, _, request in sorted(given_up)]

    def next_time(self) -> float | None:
        """When `take` is to be asked again; None where nothing waits but for active requests."""
        while self._turns and self._turns[0][2].scheduled != self._turns[0][0]:
            heapq.heappop(self._turns)
        return self._turns[0][0] if self._turns else None

    def _plan(self, host: Host) -> None:
        """Puts the host into the heap of hosts at its next turn, where that is not the one planned already."""
        when = self._turn(host)
        if when == host.scheduled:
            return
        host.scheduled = when
        if when is not None:
            heapq.heappush(self._turns, (when, next(self._numbers), host))

    def _turn(self, host: Host) -> float | None:
        """The time of its next turn; None while it has nothing to ask or has enough under way."""
        if not host.waiting or host.reads_robots or host.active >= self._config.per_host:
            return None
        return max(host.next_time, host.waiting[0][0])

    def _forget_idle(self, now: float) -> None:
        """Keeps memory from growing with all hosts that ever were; a pass over them is paid for by as many new ones."""
        if len(self._hosts) < self._forget_at:
            return
        idle = [host for host in self._hosts.values() if not host.waiting and not host.active and host.next_time <= now]
        for host in idle[: max(0, len(idle) - MAX_IDLE_HOSTS)]:
            del self._hosts[host.name]
        self._forget_at = 2 * max(len(self._hosts), MAX_IDLE_HOSTS)
