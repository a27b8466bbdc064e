"""The metrics of processes: what a scrape shows, as Prometheus's own parser reads it, and the sum of several."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable
from copy import deepcopy
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from asyncwork import (
    Discard,
    JobCounts,
    LimitInfo,
    Overview,
    Problem,
    QueueInfo,
    RateLimited,
    ServerInfo,
    Sizes,
    Snooze,
    WorkerPool,
)
from asyncwork._health.exposition import CONTENT_TYPE, Exposition
from asyncwork._health.histogram import BOUNDS, WAIT_BOUNDS, Histogram, histogram_of
from asyncwork._health.namespace_metrics import MOST_QUEUES, namespace_metrics, unavailable_metrics
from asyncwork._health.process_metrics import process_metrics
from asyncwork._health.report import MOST_KINDS, MOST_NAMES, OTHER, ProcessReport
from asyncwork._health.summing import ReportSum, silent, sum_of
from asyncwork._pool.process_source import ProcessSource
from asyncwork._worker.metrics import OUTCOMES, QueueMetrics
from asyncwork._worker.outcome import Dead

from .conftest import Bench, until
from .proxy import open_proxy
from .tuned import QUICK

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


def parse(text: str) -> Samples:
    """Return the samples of a text by name and labels, after checking its form."""
    found: Samples = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in found[sample.name], sample
            assert not math.isnan(sample.value)
            found[sample.name][labels] = sample.value
        if family.type == "histogram":
            check_histogram(family)
    names = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert len(names) == len(set(names)) == text.count("# HELP ")
    for name, kind in names:
        assert name.startswith("asyncwork_")
        assert (kind == "counter") == name.endswith("_total"), name
    assert text.endswith("\n")
    return found


def check_histogram(family: Any) -> None:
    """Check that buckets only grow, and that the last is the count."""
    rows: dict[frozenset[tuple[str, str]], dict[str, float]] = defaultdict(dict)
    for sample in family.samples:
        labels = {**sample.labels}
        kind = labels.pop("le", sample.name.rpartition("_")[2])
        rows[frozenset(labels.items())][kind] = sample.value
    for row in rows.values():
        count, _ = row.pop("count"), row.pop("sum")
        values = [row[bound] for bound in sorted(row, key=float)]
        assert values == sorted(values)
        assert values[-1] == count


def value(samples: Samples, name: str, /, **labels: str) -> float:
    return samples[name][frozenset(labels.items())]


def scrape(pool: WorkerPool[Any]) -> Samples:
    return parse(pool.metrics_text())


# One process


async def test_what_jobs_leave_in_the_metrics(bench: Bench) -> None:
    pool = bench.pool(concurrency=3)
    running, finish, limited = asyncio.Event(), asyncio.Event(), list[bool]()

    @pool.job(max_fails=2)
    async def fails() -> None:
        raise KeyError("no")

    @pool.job(max_fails=1)
    async def dies() -> None:
        raise ZeroDivisionError

    @pool.job
    async def snoozes() -> None:
        raise Snooze(3600)

    @pool.job
    async def discards() -> None:
        raise Discard("no use")

    @pool.job
    async def limits() -> None:
        if not limited:
            limited.append(True)
            raise RateLimited(1)

    @pool.job
    async def works() -> None: ...

    @pool.job
    async def waits() -> None:
        running.set()
        await finish.wait()

    @pool.job
    async def never() -> None: ...

    async with pool.running():
        for task in (fails, dies, snoozes, discards, limits, works, works):
            await task.enqueue()
        await pool.drain()
        await waits.enqueue()
        await running.wait()
        samples = scrape(pool)
        finish.set()
    expected = {"fails": "retried", "dies": "dead", "snoozes": "snoozed", "discards": "dropped", "works": "done"}
    for name, outcome in expected.items():
        for each in OUTCOMES:
            count = (2 if name == "works" else 1) if each == outcome else 0
            assert value(samples, "asyncwork_jobs_total", job_name=name, outcome=each) == count
        assert value(samples, "asyncwork_job_run_seconds_count", job_name=name) == 1 + (name == "works")
        assert value(samples, "asyncwork_job_wait_seconds_count", job_name=name) == 1 + (name == "works")
    # What is rate limited runs again as if it had not started.
    for each in OUTCOMES:
        count = int(each in ("rate_limited", "done"))
        assert value(samples, "asyncwork_jobs_total", job_name="limits", outcome=each) == count
    # Names whose jobs have not run yet are no series.
    assert {dict(labels)["job_name"] for labels in samples["asyncwork_jobs_total"]} == {*expected, "limits"}
    assert samples["asyncwork_failures_total"] == {
        frozenset({("kind", "KeyError")}): 1,
        frozenset({("kind", "ZeroDivisionError")}): 1,
    }
    assert value(samples, "asyncwork_slots", state="busy") == 1
    assert value(samples, "asyncwork_slots", state="free") == 2
    assert value(samples, "asyncwork_processes", state="running") == 1
    assert value(samples, "asyncwork_live") == value(samples, "asyncwork_ready") == 1
    assert value(samples, "asyncwork_redis_up") == 1
    assert value(samples, "asyncwork_results_pending") == 0
    after = scrape(pool)
    # The last counts of a pool that has stopped can still be scraped.
    assert value(after, "asyncwork_jobs_total", job_name="works", outcome="done") == 2
    # This one has ended after the last scrape.
    assert value(after, "asyncwork_jobs_total", job_name="waits", outcome="done") == 1
    assert value(after, "asyncwork_processes", state="stopped") == 1
    assert value(after, "asyncwork_slots", state="free") == 0
    assert "asyncwork_redis_up" not in after


async def test_each_start_counts_from_zero(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    for _ in range(2):
        async with pool.running():
            await wat.enqueue()
            await pool.drain()
            assert value(scrape(pool), "asyncwork_jobs_total", job_name="wat", outcome="done") == 1


async def test_reconnects_and_pending_results(bench: Bench) -> None:
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **QUICK)
        started, finish = asyncio.Event(), asyncio.Event()

        @pool.job
        async def wat() -> None:
            started.set()
            await finish.wait()

        async with pool.running():
            await wat.enqueue()
            await started.wait()
            assert value(scrape(pool), "asyncwork_redis_reconnects_total") == 0
            proxy.withhold()
            finish.set()
            await until(lambda: value(scrape(pool), "asyncwork_results_pending") == 1)
            await proxy.release()
            await until(lambda: value(scrape(pool), "asyncwork_results_pending") == 0)
            assert value(scrape(pool), "asyncwork_redis_reconnects_total") >= 1


async def test_many_names_and_classes_are_limited(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)
    for number in range(MOST_NAMES + 50):
        pool.job(f"job_{number}", max_fails=1, skip_dead=True)(failing(number))
    async with pool.running():
        for number in range(MOST_NAMES - 1):
            await bench.enqueuer.enqueue(f"job_{number}")
        await pool.drain()
        before = scrape(pool)
        for number in range(MOST_NAMES + 50):
            await bench.enqueuer.enqueue(f"job_{number}")
        await pool.drain()
        after = scrape(pool)
    names = {dict(labels)["job_name"] for labels in after["asyncwork_jobs_total"]}
    assert len(names) == MOST_NAMES + 1
    assert OTHER in names
    assert {dict(labels)["job_name"] for labels in before["asyncwork_jobs_total"]} < names
    kinds = after["asyncwork_failures_total"]
    assert len(kinds) == MOST_KINDS + 1
    total = (MOST_NAMES - 1) + (MOST_NAMES + 50)
    assert sum(kinds.values()) == sum(after["asyncwork_jobs_total"].values()) == total
    assert sum(after["asyncwork_job_run_seconds_count"].values()) == total
    for name, series in before.items():
        if name.endswith("_total"):
            assert all(after[name][labels] >= count for labels, count in series.items())


def failing(number: int) -> Callable[[], Any]:
    async def fail() -> None:
        raise type(f"Error{number}", (Exception,), {})

    return fail


def test_a_queue_counts_only_so_many_classes() -> None:
    metrics = QueueMetrics()
    for number in range(1000):
        metrics.record_failure(Dead(1), type("E" * 1000 + f"{number}", (Exception,), {})(), failed=True)
        metrics.record_failure(Dead(1), type(f"Error{number}", (Exception,), {})(), failed=True)
    assert sum(metrics.failures.values()) == 2000
    assert len(metrics.failures) <= MOST_KINDS + 1
    assert max(map(len, metrics.failures)) <= 100


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        (0.0, 0.001),
        (0.0009, 0.001),
        (0.0011, 0.002),
        (0.1, 0.128),
        (1.0, 1.024),
        (3600.0, 4194.304),
        (10_000_000.0, math.inf),
        (-0.5, 0.512),  # a clock that was set back
    ],
)
def test_the_bucket_of_a_duration(seconds: float, bound: float) -> None:
    metrics, histogram = QueueMetrics(), Histogram()
    metrics.record_attempt(0, 100.0, 100.0 + seconds)
    histogram.add(seconds)
    for counts in (histogram_of([(metrics.run_counts, 0)])["counts"], histogram.counts):
        assert [[*BOUNDS, math.inf][at] for at, count in enumerate(counts) if count] == [bound]
    assert not any(metrics.wait_counts)


@pytest.mark.parametrize(("waited", "bound"), [(-5, 1), (0, 1), (1, 2), (3, 4), (4, 8), (86_400, 131_072), (10**9, 0)])
def test_the_bucket_of_a_wait(waited: int, bound: float) -> None:
    metrics = QueueMetrics()
    now = 2_000_000_000.5
    metrics.record_attempt(int(now) - waited, now, now)
    counts = histogram_of([(metrics.wait_counts, 0)], WAIT_BOUNDS)["counts"]
    assert [[*WAIT_BOUNDS, 0][at] for at, count in enumerate(counts) if count] == [bound]
    assert metrics.waited == max(0, waited)


# The text format


def test_labels_and_descriptions_are_escaped() -> None:
    out = Exposition()
    out.metric("asyncwork_x", "gauge", 'a "b" \\ c\nd')
    texts = ['q"u', "back\\slash", "new\nline", "nul\0", "é", "\udcff", "\ud800", "a\r\u2028b", "{x=1} 5 # no"]
    for text in texts:
        out.sample(1, name=text)
    (family,) = text_string_to_metric_families(out.text())
    assert family.documentation == 'a "b" \\ c\nd'
    assert [sample.labels["name"] for sample in family.samples] == [
        *('q"u', "back\\slash", "new\\nline", "nul\\x00", "é", "\\xff", "\\ud800", "a\\r\\u2028b", "{x=1} 5 # no")
    ]
    out.text().encode()
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


def test_numbers() -> None:
    out = Exposition()
    out.metric("asyncwork_x", "gauge", "x")
    for number, given in enumerate((True, 5, 2**60, 0.5, 1e-9, 1e30)):
        out.sample(given, n=str(number))
    (family,) = text_string_to_metric_families(out.text())
    assert [sample.value for sample in family.samples] == [1, 5, float(2**60), 0.5, 1e-9, 1e30]


# Several processes


def report(**values: Any) -> ProcessReport:
    one: Any = {
        **ProcessSource().report(),
        "health": {"live": True, "ready": True, "state": "running", "reason": "", "since": None},
        "processes": {"running": 1},
        "started_at": 100.0,
        "redis": True,
        "busy": 1,
        "free": 9,
        "jobs": {"wat": job(3)},
        "failures": {"KeyError": 1},
        **values,
    }
    return deepcopy(one)  # type: ignore[no-any-return]


def job(done: int) -> Any:
    return {
        "outcomes": {"done": done, "dead": 1},
        "run": {"counts": [done, 1], "sum": done / 2},
        "wait": {"counts": [done], "sum": 0.0},
        "chunks": {"counts": [0, 1], "sum": 2.0},
    }


def unwell(*, live: bool, reason: str = "why", state: str = "running") -> dict[str, Any]:
    return {"live": live, "ready": False, "state": state, "reason": reason, "since": 5.0}


def test_the_sum_of_two_reports() -> None:
    first = report(started_at=50.0, pending=2, blocked=0.5, reconnects=1)
    second = report(processes={"quiet": 1}, jobs={"wat": job(4), "other": job(1)}, redis=None, blocked=1.5)
    total = sum_of([first, second])
    assert total["processes"] == {"running": 1, "quiet": 1}
    assert (total["busy"], total["free"], total["pending"], total["reconnects"]) == (2, 18, 2, 1)
    assert (total["started_at"], total["blocked"], total["redis"]) == (50.0, 1.5, True)
    assert total["jobs"]["wat"]["outcomes"] == {"done": 7, "dead": 2}
    assert total["jobs"]["wat"]["run"] == {"counts": [7, 2], "sum": 3.5}
    assert total["failures"] == {"KeyError": 2}
    assert sum_of([report(redis=None)])["redis"] is None
    assert sum_of([report(), report(redis=False)])["redis"] is False
    samples = parse(process_metrics(total))
    assert value(samples, "asyncwork_processes", state="quiet") == 1
    assert value(samples, "asyncwork_jobs_total", job_name="other", outcome="done") == 1


@pytest.mark.parametrize(
    ("healths", "live", "ready", "reason"),
    [
        ([unwell(live=True, reason="away"), None], True, True, ""),
        ([None, unwell(live=False, reason="blocked")], True, True, ""),
        ([unwell(live=False, reason="blocked"), unwell(live=True, reason="quiet")], True, False, "quiet"),
        ([unwell(live=False, reason="blocked"), unwell(live=False, reason="blocked")], False, False, "blocked"),
    ],
)
def test_some_processes_answer_for_all(healths: list[Any], live: bool, ready: bool, reason: str) -> None:
    total = sum_of([report(**({} if each is None else {"health": each})) for each in healths])["health"]
    assert (total["live"], total["ready"], total["reason"]) == (live, ready, reason)
    assert (total["since"] is None) == ready


def test_the_counts_of_ended_processes_remain() -> None:
    total = ReportSum()
    assert (total.health()["live"], total.health()["ready"], total.health()["state"]) == (True, False, "starting")
    assert parse(process_metrics(total.report()))["asyncwork_processes"] == {}
    second = report(jobs={"wat": job(10)})
    total.replace({1: report(), 2: second})
    assert total.report()["jobs"]["wat"]["outcomes"]["done"] == 13
    total.replace({2: second, 3: report(jobs={"wat": job(0)}, failures={})})
    after = total.report()
    assert after["jobs"]["wat"]["outcomes"] == {"done": 13, "dead": 3}
    assert after["failures"] == {"KeyError": 2}
    assert (after["busy"], after["processes"]) == (2, {"running": 2})
    total.replace({})
    after = total.report()
    assert after["jobs"]["wat"]["outcomes"] == {"done": 13, "dead": 3}
    assert (after["busy"], after["free"], after["processes"], after["redis"]) == (0, 0, {}, None)
    assert total.health()["ready"] is False


def test_the_last_report_of_an_ended_process_counts_once() -> None:
    total = ReportSum()
    total.replace({1: report(), 2: report()})
    last = report(jobs={"wat": job(10)})
    total.replace({2: report()}, {1: last, 3: report()})
    for _ in range(2):
        assert total.report()["jobs"]["wat"]["outcomes"]["done"] == 10 + 3 + 3
        assert (total.report()["busy"], total.report()["processes"]) == (1, {"running": 1})
        total.replace({2: report()})


def test_it_is_known_since_when_no_process_has_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwork._health.summing.time.time", lambda: 5.0)
    total = ReportSum()
    assert total.health()["since"] == total.report()["health"]["since"] == 5.0
    total.replace({1: report()})
    assert total.health()["since"] is None
    monkeypatch.setattr("asyncwork._health.summing.time.time", lambda: 9.0)
    total.replace({})
    total.replace({})
    assert total.health()["since"] == 9.0


def test_a_process_that_does_not_report_is_not_live() -> None:
    last = report()
    assert silent(last, 9.0, limit=10.0) == last
    after = silent(last, 11.0, limit=10.0)
    assert (after["health"]["live"], after["health"]["ready"], after["blocked"]) == (False, False, 11.0)
    assert sum_of([after, last])["health"]["ready"]
    assert not sum_of([after, after])["health"]["live"]


def test_the_sum_limits_names_and_classes() -> None:
    total = ReportSum()
    reports: dict[Hashable, ProcessReport] = {}
    for process in range(3):
        jobs = {f"job_{process}_{number}": job(1) for number in range(MOST_NAMES)}
        kinds = {f"Error{process}{number}": 1 for number in range(MOST_KINDS)}
        reports[process] = report(jobs=jobs, failures=kinds)
    total.replace(reports)
    summed = total.report()
    assert len(summed["jobs"]) == MOST_NAMES + 1
    assert summed["jobs"][OTHER]["outcomes"] == {"done": 2 * MOST_NAMES, "dead": 2 * MOST_NAMES}
    assert len(summed["failures"]) == MOST_KINDS + 1


def test_a_report_is_json() -> None:
    one = report()
    assert json.loads(json.dumps(one)) == one


# A namespace


_LIMITED = QueueInfo("limited", 1, 2, rate="5/1/1", tokens=0, rests_for=1.2)


def overview(**values: Any) -> Overview:
    made: dict[str, Any] = {
        "heartbeats": [],
        "queues": [QueueInfo("wat", 3, 40, 2, 2, False, 1), QueueInfo("zaz", 5, 90, paused=True), _LIMITED],
        "sizes": Sizes(8, 2, 1, 4, 6, 0),
        "problems": [Problem("no_workers", "zaz", "", "")],
        "server": ServerInfo("7.0.15", 1000, 0, "noeviction", 1, 1),
        **values,
    }
    return Overview(**made)


def test_the_metrics_of_a_namespace() -> None:
    today = JobCounts(processed=20, failed=5, retried=3, dead=1, expired=2, cancelled=1)
    limits = [LimitInfo("llm", "5/1/1", 9, tokens=0, running=3, slots=1), LimitInfo("free", concurrency=4, running=3)]
    samples = parse(namespace_metrics("my_app", overview(), today, limits=limits))
    found = [value(samples, f"asyncwork_namespace_limit_{each}", limit="llm") for each in ("running", "concurrency")]
    assert found == [4, 9]
    assert value(samples, "asyncwork_namespace_limit_used_up", limit="llm") == 1
    assert value(samples, "asyncwork_namespace_limit_used_up", limit="free") == 0
    assert value(samples, "asyncwork_namespace_info", name="my_app") == 1
    assert value(samples, "asyncwork_namespace_redis_up") == 1
    for location, count in {"queued": 8, "busy": 2, "retry": 1, "scheduled": 4, "dead": 6, "quarantine": 0}.items():
        assert value(samples, "asyncwork_namespace_jobs", location=location) == count
    # A paused queue is meant to wait.
    assert value(samples, "asyncwork_namespace_latency_seconds") == 40
    assert value(samples, "asyncwork_namespace_queue_jobs", queue="wat") == 3
    assert value(samples, "asyncwork_namespace_queue_latency_seconds", queue="zaz") == 90
    assert value(samples, "asyncwork_namespace_queue_capped", queue="wat") == 1
    assert value(samples, "asyncwork_namespace_queue_capped", queue="zaz") == 0
    assert value(samples, "asyncwork_namespace_queue_paused", queue="zaz") == 1
    assert value(samples, "asyncwork_namespace_queue_pools", queue="wat") == 1
    for queue, out, rests in (("wat", 0, 0), ("limited", 1, 2)):
        assert value(samples, "asyncwork_namespace_queue_out_of_tokens", queue=queue) == out
        assert value(samples, "asyncwork_namespace_queue_rest_seconds", queue=queue) == rests
    assert value(samples, "asyncwork_namespace_problems", kind="no_workers") == 1
    outcomes = {"done": 12, "retried": 3, "dead": 1, "dropped": 1, "expired": 2, "cancelled": 1}
    for outcome, count in outcomes.items():
        assert value(samples, "asyncwork_namespace_attempts_total", outcome=outcome) == count
    assert parse(unavailable_metrics("my_app"))["asyncwork_namespace_redis_up"] == {frozenset(): 0}


def test_many_queues_are_limited() -> None:
    queues = [QueueInfo(f"queue_{number:04}", 1, number) for number in range(5000)]
    text = namespace_metrics("my_app", overview(queues=queues), JobCounts())
    samples = parse(text)
    shown = samples["asyncwork_namespace_queue_jobs"]
    assert len(shown) == MOST_QUEUES
    assert value(samples, "asyncwork_namespace_queue_latency_seconds", queue="queue_4999") == 4999
    assert value(samples, "asyncwork_namespace_other_queues") == 5000 - MOST_QUEUES
    assert value(samples, "asyncwork_namespace_other_queues_jobs") == 5000 - MOST_QUEUES
    assert len(text) < 500_000


def test_the_scopes_share_no_name() -> None:
    process, namespace = parse(process_metrics(report())), parse(namespace_metrics("a", overview(), JobCounts()))
    assert not process.keys() & namespace.keys()
    assert all(name.startswith("asyncwork_namespace_") for name in namespace)
    assert not any(name.startswith("asyncwork_namespace_") for name in process)
