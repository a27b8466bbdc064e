"""Runs the measurements in rounds, in which every case takes its turn."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from .catalogue import ALONE, ASYNCWORK, Side
from .measure import Bench, Drain
from .orders import Case
from .process import BenchmarkError
from .results import Results

MEASUREMENTS = ("drain", "enqueue", "sleep", "latency", "memory", "growth")

# The default of asyncwork is the first.
CONCURRENCIES = (10, 20, 100)
# Seconds that a job may take, in the cases with a timeout.
TIMEOUT = 30.0
# Seconds that a job sleeps, and the number of workers for these jobs.
SLEEP, SLEEPERS = 0.01, 100
# Jobs per second for the latency of an idle worker.
IDLE_RATE = 20.0

# The most rounds in which latencies are measured.
_LATENCY_ROUNDS = 2

NAMES = (1, 10, 100, 1_000)
PROCESSES = (1, 2, 4, 8)
WORKERS = (10, 20, 100, 1_000)
BACKLOGS = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of each measurement.

    :ivar jobs: number of jobs in each drain; fewer for peers that run fewer in ``seconds``.
    :ivar least: the fewest jobs in a drain.
    :ivar probe: jobs in the first drain of a peer, which estimates its rate.
    :ivar sleepers: jobs that sleep.
    :ivar trickle: jobs that are enqueued one after the other.
    :ivar wait: jobs for the latency of an idle worker.
    :ivar flow: seconds of the latency measurement at half of the rate.
    :ivar monitored: jobs whose commands are counted.
    :ivar backlogs: numbers of further jobs that wait.
    :ivar long: jobs in the drain that measures memory.
    """

    rounds: int = 3
    jobs: int = 100_000
    seconds: float = 3.0
    least: int = 200
    probe: int = 300
    sleepers: int = 5_000
    trickle: int = 5_000
    wait: int = 200
    flow: float = 3.0
    monitored: int = 2_000
    backlogs: Sequence[int] = BACKLOGS
    long: int = 1_000_000


QUICK = Plan(
    rounds=1,
    jobs=10_000,
    seconds=0.5,
    least=100,
    probe=100,
    sleepers=500,
    trickle=500,
    wait=20,
    flow=0.5,
    monitored=300,
    backlogs=BACKLOGS[:2],
    long=50_000,
)


class Rounds:
    """Runs all rounds. A peer that fails is dropped, and the others continue.

    :param peers: the peers whose programs could be built.
    :param only: which of ``MEASUREMENTS`` to run.
    """

    def __init__(
        self, bench: Bench, plan: Plan, peers: Sequence[Side], only: Collection[str], results: Results
    ) -> None:
        self._bench = bench
        self._plan = plan
        self._peers = list(peers)
        self._only = only
        self._results = results
        self._rates: dict[str, float] = {}
        self._round = 0

    def run(self) -> None:
        """Run all measurements.

        :raises BenchmarkError: when asyncwork or the baseline fails.
        """
        self._probe()
        while self._round < self._plan.rounds:
            self._round += 1
            for name in MEASUREMENTS:
                if name in self._only:
                    getattr(self, f"_{name}")()

    def _probe(self) -> None:
        """Estimate the rate of each peer, which decides how many jobs it gets."""
        if not {"drain", "enqueue", "sleep", "latency"}.isdisjoint(self._only):
            self._each(self._peers, self._estimate_rate)

    def _estimate_rate(self, side: Side) -> None:
        drain = self._bench.drain(_usual(side), self._plan.probe)
        self._rates[side.name] = drain.rate
        _write(f"{side.name}: about {drain.rate:,.0f} jobs/s")

    # The measurements

    def _drain(self) -> None:
        for concurrency in CONCURRENCIES:
            # Cases that are compared run right after each other, because the speed of the machine changes.
            for case in compared_cases(concurrency):
                self._drain_ours(case)
            self._each(self._peers, partial(self._drain_peer, concurrency))
            for case in varied_cases(concurrency):
                self._drain_ours(case)
        if self._round == 1:
            self._each(self._sides(), self._count_commands)

    def _drain_peer(self, concurrency: int, side: Side) -> None:
        case = Case(side.name, min(concurrency, side.most))
        if len(self._results.drains[case]) < self._round:
            self._note_drain(case, self._bench.drain(case, self._share_of(side, self._plan.jobs, self._plan.seconds)))

    def _count_commands(self, side: Side) -> None:
        case = _usual(side)
        self._results.commands[case] = self._bench.commands(case, self._plan.monitored)

    def _enqueue(self) -> None:
        for uvloop in event_loops():
            case = Case(ASYNCWORK.name, 1, uvloop=uvloop)
            self._enqueue_with(ASYNCWORK, case)
            # A peer might open a connection for each task.
            self._note_enqueues(case, "by many tasks", self._results.crowds, "crowd", self._plan.jobs)
        self._each(self._peers, self._enqueue_by)

    def _enqueue_by(self, side: Side) -> None:
        self._enqueue_with(side, Case(side.name, 1))

    def _enqueue_with(self, side: Side, case: Case) -> None:
        self._note_enqueues(case, "one after the other", self._results.trickles, "trickle", self._plan.trickle)
        if side.bulk:
            jobs = self._share_of(side, self._plan.jobs, self._plan.seconds)
            self._note_enqueues(case, "in bulk", self._results.fills, "fill", jobs)

    def _note_enqueues(self, case: Case, how: str, found: defaultdict[Case, list[float]], what: str, jobs: int) -> None:
        found[case].append(rate := self._bench.enqueue(what, case, jobs))
        self._log(f"{case.label}, enqueueing {how}: {rate:,.0f} jobs/s")

    def _sleep(self) -> None:
        for case in sleeping_cases():
            self._note_sleep(case, self._plan.sleepers)
        self._each(self._peers, self._sleep_by)

    def _sleep_by(self, side: Side) -> None:
        case = Case(side.name, min(SLEEPERS, side.most), sleep=SLEEP)
        self._note_sleep(case, self._share_of(side, self._plan.sleepers, self._plan.seconds))

    def _note_sleep(self, case: Case, jobs: int) -> None:
        self._results.sleeps[case].append(drain := self._bench.drain(case, jobs))
        self._log(f"{case.label}, jobs of {1000 * SLEEP:.0f} ms: {drain.rate:,.0f} jobs/s")

    def _latency(self) -> None:
        # Each measurement has many jobs already, and takes long.
        if self._round <= _LATENCY_ROUNDS:
            self._each(self._sides(), self._wait_for)

    def _wait_for(self, side: Side) -> None:
        case = _usual(side)
        self._results.idle[case].append(self._bench.flow(case, self._plan.wait, IDLE_RATE))
        rate = self._rate(side) / 2
        jobs = max(self._plan.wait, round(rate * self._plan.flow))
        self._results.busy[case].append(flow := self._bench.flow(case, jobs, rate))
        self._log(f"{side.name}, latency when idle, and at {flow.rate:,.0f} jobs/s")

    def _memory(self) -> None:
        if self._round == 1:
            self._results.long = drain = self._bench.drain(_usual(ASYNCWORK), self._plan.long)
            self._log(f"asyncwork, {self._plan.long:,} jobs: {drain.rate:,.0f} jobs/s")

    def _growth(self) -> None:
        for case in growth_cases():
            # Some cases were drained in this round already.
            if len(self._results.drains[case]) < self._round:
                self._drain_ours(case)
        # Up and down again, because the speed of the machine changes.
        for waiting in (*self._plan.backlogs, *reversed(self._plan.backlogs)):
            drain = self._bench.drain(_usual(ASYNCWORK), self._plan.jobs // 2, waiting)
            self._results.backlogs[waiting].append(drain)
            self._log(f"asyncwork, {waiting:,} further jobs waiting: {drain.rate:,.0f} jobs/s")

    # Helpers

    def _drain_ours(self, case: Case) -> None:
        # Jobs with large arguments must fit into memory.
        jobs = self._plan.jobs // (5 if case.padding else 1)
        self._note_drain(case, self._bench.drain(case, jobs))

    def _note_drain(self, case: Case, drain: Drain) -> None:
        self._results.drains[case].append(drain)
        self._log(f"{case.label}, {case.concurrency} workers: {drain.rate:,.0f} jobs/s")

    def _rate(self, side: Side) -> float:
        """Return the rate at which a side drains; measure it if there is no result yet."""
        if drains := self._results.drains.get(_usual(side)):
            return drains[0].rate
        if side.name not in self._rates:
            self._rates[side.name] = self._bench.drain(_usual(side), self._plan.jobs).rate
        return self._rates[side.name]

    def _share_of(self, side: Side, jobs: int, seconds: float) -> int:
        """Return the number of jobs that a side runs in some seconds, to one digit; at most ``jobs``."""
        if side is ASYNCWORK:
            return jobs
        most = min(float(jobs), max(self._plan.least, self._rates[side.name] * seconds))
        return int(float(f"{most:.0e}"))

    def _sides(self) -> list[Side]:
        return [ASYNCWORK, *self._peers]

    def _each(self, sides: Sequence[Side], measure: Callable[[Side], None]) -> None:
        """Measure each side; drop a peer that fails."""
        for side in list(sides):
            try:
                measure(side)
            except BenchmarkError as error:
                if side not in self._peers:
                    raise
                self._peers.remove(side)
                self._results.drop(side.name, str(error).strip().splitlines()[-1])
                _write(f"{side.name} is dropped: {error}")

    def _log(self, text: str) -> None:
        _write(f"round {self._round}: {text}")


def _usual(side: Side) -> Case:
    """Return the case of a side with 20 workers, or as many as it supports."""
    return Case(side.name, min(20, side.most))


def compared_cases(concurrency: int) -> list[Case]:
    """Return the cases of asyncwork and the baseline that are compared with the peers."""
    return [Case("baseline", concurrency, pipelines=1), Case("baseline", concurrency), Case("asyncwork", concurrency)]


def varied_cases(concurrency: int) -> list[Case]:
    """Return the variations of asyncwork, and the baselines to compare them with."""
    found = [Case("asyncwork", concurrency, middleware=1), Case("asyncwork", concurrency, checkins=1)]
    found += [Case("asyncwork", concurrency, tracked=True), Case("asyncwork", concurrency, timeout=TIMEOUT)]
    if True in event_loops():
        found += [Case("baseline", concurrency, uvloop=True), Case("asyncwork", concurrency, uvloop=True)]
    if concurrency == 20:
        found += [Case("asyncwork", concurrency, names=100), Case("asyncwork", concurrency, padding=10 * 1024)]
        found += [Case("asyncwork", concurrency, processes=2)]
    return found


def sleeping_cases() -> list[Case]:
    """Return the cases with jobs that sleep: coroutines alone and asyncwork, on each event loop, and with timeouts."""
    found = []
    for uvloop in event_loops():
        found += [Case(side.name, SLEEPERS, sleep=SLEEP, uvloop=uvloop) for side in (ALONE, ASYNCWORK)]
        found += [Case(ASYNCWORK.name, SLEEPERS, sleep=SLEEP, uvloop=uvloop, timeout=TIMEOUT)]
    return found


def alone(case: Case) -> Case:
    """Return the coroutines alone that sleep as often as the jobs of a case, on the same event loop."""
    return Case(ALONE.name, case.concurrency, sleep=case.sleep, uvloop=case.uvloop)


def event_loops() -> Sequence[bool]:
    """Return whether to use uvloop, for each event loop that is there."""
    return (False, True) if find_spec("uvloop") else (False,)


def growth_cases() -> list[Case]:
    """Return the cases of asyncwork that show its growth."""
    found = [Case("asyncwork", 20, names=names) for names in NAMES]
    found += [Case("asyncwork", 20, processes=processes) for processes in PROCESSES]
    found += [Case("asyncwork", concurrency) for concurrency in WORKERS]
    return list(dict.fromkeys(found))


def _write(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
