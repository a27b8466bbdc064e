"""The performance targets of asyncwork, and whether a run reached them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from .catalogue import PEERS
from .latencies import percentile
from .orders import Case
from .results import Results, paired, peers_of
from .rounds import alone, sleeping_cases

MB = 1024 * 1024
_GO = "gocraft/work"
_SIDES = {side.name: side for side in PEERS}
# The highest ratio at which two costs count as equal, because smaller differences are within the noise.
_FLAT = 1.15


@dataclass(frozen=True, slots=True)
class Target:
    """A performance target.

    :ivar what: its description.
    :ivar found: the figure of each round; empty if it was not measured.
    :ivar bound: the lowest allowed figure if ``at_least``, otherwise the highest.
    :ivar shown: formats a figure.
    """

    what: str
    found: Sequence[float]
    bound: float
    at_least: bool = True
    shown: Callable[[float], str] = "{:.2f}".format

    @property
    def verdict(self) -> str:
        """Whether the median reaches the target."""
        if not self.found:
            return "not measured"
        found = median(self.found)
        return "reached" if (found >= self.bound if self.at_least else found <= self.bound) else "not reached"


def targets(results: Results) -> list[Target]:
    """Return all targets."""
    return [
        *_throughput(results),
        *_redis(results),
        *_latency(results),
        *_enqueueing(results),
        *_memory(results),
        *_growth(results),
    ]


def acknowledging(results: Results, concurrency: int) -> list[float]:
    """Return the rate of the fastest asyncio peer that acknowledges, for each round; empty without such a peer."""
    rates = [
        [run.rate for run in results.drains[case]]
        for case in peers_of(results.drains, concurrency)
        if _SIDES[case.side].event_loop and _SIDES[case.side].acknowledges
    ]
    return [max(each) for each in zip(*rates, strict=True)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round; empty when one side was not measured."""
    return paired(ours, theirs) if ours and theirs else []


def _rates(results: Results, case: Case) -> list[float]:
    return [run.rate for run in results.drains.get(case, [])]


def _throughput(results: Results) -> Iterator[Target]:
    times = "{:.2f} x".format
    for concurrency, least in ((10, 2.0), (20, 2.0), (100, 4.0)):
        ours = Case("asyncwork", concurrency)
        go = ratio(_rates(results, ours), _rates(results, Case(_GO, concurrency)))
        yield Target(f"drain, {concurrency} workers: {least:.0f} x gocraft/work", go, least, shown=times)
        peer = ratio(_rates(results, ours), acknowledging(results, concurrency))
        what = f"drain, {concurrency} workers: 25 x the fastest asyncio peer that acknowledges"
        yield Target(what, peer, 25.0, shown=times)
        baseline = ratio(_rates(results, ours), _rates(results, ours.ceiling))
        yield Target(f"drain, {concurrency} workers: 60 % of the baseline", baseline, 0.6, shown="{:.0%}".format)
    for case in [case for case in sleeping_cases() if case.side == "asyncwork" and not case.timeout]:
        ours, bare = ([run.rate for run in results.sleeps.get(each, [])] for each in (case, alone(case)))
        what = f"jobs of 10 ms, 100 workers, {'uvloop' if case.uvloop else 'asyncio'}: 95 % of coroutines alone"
        yield Target(what, ratio(ours, bare), 0.95, shown="{:.1%}".format)


def _redis(results: Results) -> Iterator[Target]:
    def cost(side: str) -> list[float]:
        return [run.redis.cpu / run.jobs for run in results.drains.get(Case(side, 20), [])]

    found = ratio(cost("asyncwork"), cost(_GO))
    yield Target("CPU of Redis per job, 20 workers: a quarter of gocraft/work's", found, 0.25, at_least=False)


def _latency(results: Results) -> Iterator[Target]:
    def idle(case: Case, percent: int) -> list[float]:
        return [1000 * percentile(flow.waited.seconds, percent) for flow in results.idle.get(case, [])]

    ours = Case("asyncwork", 20)
    shown = "{:.2f} ms".format
    for percent, most in ((50, 1.0), (99, 3.0)):
        yield Target(
            f"latency when idle, p{percent}: {most:.0f} ms", idle(ours, percent), most, at_least=False, shown=shown
        )
        theirs = [idle(case, percent) for case in peers_of(results.idle)]
        best = [min(each) for each in zip(*theirs, strict=True)]
        what = f"latency when idle, p{percent}: below every peer's"
        yield Target(
            what, ratio(idle(ours, percent), best), 1.0, at_least=False, shown="{:.2f} x the best peer's".format
        )


def _enqueueing(results: Results) -> Iterator[Target]:
    ours = Case("asyncwork", 1)
    yield Target("enqueueing in bulk: 200,000 jobs/s", results.fills.get(ours, []), 200_000, shown="{:,.0f}".format)
    theirs = [results.trickles[case] for case in peers_of(results.trickles) if case.side != _GO]
    best = [max(each) for each in zip(*theirs, strict=True)]
    found = ratio(results.trickles.get(ours, []), best)
    what = "enqueueing one after the other: no slower than the fastest Python peer"
    yield Target(what, found, 1.0, shown="{:.2f} x".format)


def _memory(results: Results) -> Iterator[Target]:
    found = [flow.waited.idle / MB for flow in results.idle.get(Case("asyncwork", 20), [])]
    yield Target(
        "memory of an idle worker, without uvloop: 45 MB", found, 45.0, at_least=False, shown="{:.1f} MB".format
    )


def _growth(results: Results) -> Iterator[Target]:
    def cost(names: int) -> list[float]:
        return [run.cost for run in results.drains.get(Case("asyncwork", 20, names=names), [])]

    backlogs = sorted(results.backlogs)
    with_backlog = [[run.cost for run in results.backlogs[waiting]] for waiting in backlogs]
    found = ratio(with_backlog[-1], with_backlog[0]) if with_backlog else []
    span = f"{backlogs[-1]:,} jobs waiting" if backlogs else "many jobs waiting"
    yield Target(f"cost of a job with {span}: that of one with few", found, _FLAT, at_least=False)
    yield Target("cost of a job of 100 names: that of 10", ratio(cost(100), cost(10)), _FLAT, at_least=False)
    yield Target("cost of a job of 1,000 names: double that of 10", ratio(cost(1_000), cost(10)), 2.0, at_least=False)
