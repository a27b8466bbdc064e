"""Writes the results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .latencies import percentile
from .measure import Drain, Flow
from .orders import Case
from .results import Results, peers_of
from .rounds import CONCURRENCIES, NAMES, PROCESSES, WORKERS, alone, compared_cases, varied_cases
from .sending import CROWD
from .table import spread, table
from .targets import MB, acknowledging, ratio, targets

_GO = "gocraft/work"


def sections(results: Results) -> Iterator[str]:
    """Yield the tables that have results, each with a heading."""
    tables = {
        "Draining": _drains(results),
        "Ratios": _ratios(results),
        "CPU, Redis and memory": _costs(results),
        "Jobs that sleep 10 ms": _sleeps(results.sleeps),
        "Enqueueing": _enqueues(results),
        "From enqueue to handler, idle worker": _flows(results.idle),
        "From enqueue to handler, at half of what the worker can do": _flows(results.busy),
        "Memory of asyncwork's worker": _memory(results),
        "How it grows": _growth(results),
        "Targets": _targets(results),
        "Missing": "\n".join(f"- {name}: {reason}" for name, reason in results.missing.items()),
    }
    for headline, text in tables.items():
        if text:
            yield f"## {headline}\n\n{text}"


def _drains(results: Results) -> str:
    rows = []
    for concurrency in (*CONCURRENCIES, 1):
        cases = [case for case in _ours(results) if case.concurrency == concurrency]
        cases += sorted(peers_of(results.drains, concurrency), key=lambda case: -results.drains[case][0].rate)
        rows += [_drain_row(case, results) for case in cases]
    return table(["", "workers", "jobs", "jobs/s", "of the baseline"], rows) if rows else ""


def _ours(results: Results) -> list[Case]:
    """Return asyncwork's and the baseline's cases, without those that are only measured for growth."""
    cases = [case for each in CONCURRENCIES for case in (*compared_cases(each), *varied_cases(each))]
    return [case for case in cases if case in results.drains]


def _drain_row(case: Case, results: Results) -> list[str]:
    runs = results.drains[case]
    own = case.side == "asyncwork" and case.processes == 1
    baseline = ratio(_rates(runs), _rates(results.drains.get(case.ceiling, []))) if own else []
    return [
        case.label,
        str(case.concurrency),
        f"{runs[0].jobs:,}",
        spread(_rates(runs)),
        spread(baseline, "{:.2f}".format),
    ]


def _rates(runs: Sequence[Drain]) -> list[float]:
    return [run.rate for run in runs]


def _ratios(results: Results) -> str:
    rows = []
    for concurrency in CONCURRENCIES:
        ours = _rates(results.drains.get(Case("asyncwork", concurrency), []))
        go = _rates(results.drains.get(Case(_GO, concurrency), []))
        baseline = _rates(results.drains.get(Case("baseline", concurrency), []))
        peer = acknowledging(results, concurrency)
        found = [spread(ratio(ours, each), "{:.2f}".format) for each in (go, peer, baseline)]
        if any(found):
            rows.append([f"{concurrency} workers", *found])
    head = ["jobs/s of asyncwork", "/ gocraft/work", "/ the fastest asyncio peer that acknowledges", "/ the baseline"]
    return table(head, rows) if rows else ""


def _costs(results: Results) -> str:
    head = ["", "workers", "worker", "Redis", "commands", "sent", "in scripts", "reads", "MB idle", "after", "peak"]
    cases = [*(case for case in _ours(results) if case.processes == 1), *peers_of(results.drains)]
    rows = [_cost_row(case, results) for case in cases]
    if not rows:
        return ""
    words = (
        "Per job: CPU of the worker and of Redis in µs; commands that Redis ran; how many of them were sent over a\n"
        "connection, and how many ran in scripts (counted by MONITOR in a small separate drain); reads of Redis from\n"
        "connections, which are the round trips. Memory of the worker in MB: before the first job, after the last,\n"
        "and its peak."
    )
    return f"{words}\n\n{table(head, rows)}"


def _cost_row(case: Case, results: Results) -> list[str]:
    runs = results.drains[case]
    commands = results.commands.get(case)
    tenths = "{:.1f}".format
    return [
        case.label,
        str(case.concurrency),
        spread([1e6 * run.worker.cpu / run.jobs for run in runs], tenths),
        spread([1e6 * run.redis.cpu / run.jobs for run in runs], tenths),
        spread([run.redis.commands / run.jobs for run in runs], tenths),
        f"{commands.sent:.2f}" if commands else "",
        f"{commands.in_scripts:.2f}" if commands else "",
        spread([run.redis.reads / run.jobs for run in runs], "{:.2f}".format),
        spread([run.worker.idle / MB for run in runs], tenths),
        spread([run.worker.after / MB for run in runs], tenths),
        spread([run.worker.peak / MB for run in runs], tenths),
    ]


def _sleeps(found: Mapping[Case, Sequence[Drain]]) -> str:
    rows = [
        [
            case.label,
            str(case.concurrency),
            f"{runs[0].jobs:,}",
            spread(_rates(runs)),
            spread([run.rate * case.sleep / case.concurrency for run in runs], "{:.1%}".format),
            spread(_of_alone(case, found), "{:.1%}".format),
        ]
        for case, runs in found.items()
    ]
    return table(["", "workers", "jobs", "jobs/s", "of the ideal", "of coroutines alone"], rows) if rows else ""


def _of_alone(case: Case, found: Mapping[Case, Sequence[Drain]]) -> list[float]:
    """Return which share asyncwork reaches of what bare coroutines do on its event loop; empty for other sides."""
    return ratio(_rates(found[case]), _rates(found.get(alone(case), []))) if case.side == "asyncwork" else []


def _enqueues(results: Results) -> str:
    rows = [
        [case.label, spread(rates), *(spread(found.get(case, [])) or "-" for found in (results.crowds, results.fills))]
        for case, rates in results.trickles.items()
    ]
    return table(["jobs/s", "one after the other", f"by {CROWD:,} tasks at once", "in bulk"], rows) if rows else ""


def _flows(found: Mapping[Case, Sequence[Flow]]) -> str:
    rows = [_flow_row(case, flows) for case, flows in found.items()]
    return table(["", "workers", "jobs/s", "p50 ms", "p95 ms", "p99 ms", "MB idle"], rows) if rows else ""


def _flow_row(case: Case, flows: Sequence[Flow]) -> list[str]:
    times = [
        spread([1000 * percentile(flow.waited.seconds, percent) for flow in flows], "{:,.2f}".format)
        for percent in (50, 95, 99)
    ]
    idle = spread([flow.waited.idle / MB for flow in flows], "{:.1f}".format)
    return [case.side, str(case.concurrency), spread([flow.rate for flow in flows]), *times, idle]


def _memory(results: Results) -> str:
    runs = list(results.drains.get(Case("asyncwork", 20), []))
    if results.long:
        runs.append(results.long)
    seen = {run.jobs: run.worker for run in runs}
    rows = [
        [f"{jobs:,} jobs", *(f"{size / MB:.1f}" for size in (worker.idle, worker.after, worker.peak))]
        for jobs, worker in seen.items()
    ]
    return table(["", "MB idle", "MB after", "MB peak"], rows) if results.long else ""


def _growth(results: Results) -> str:
    if not results.backlogs:
        return ""
    head = ["asyncwork", "jobs/s", "µs of CPU a job, worker and Redis"]
    rows = [["**job names**", "", ""]]
    rows += [_growth_row(f"{names:,}", results.drains[Case("asyncwork", 20, names=names)]) for names in NAMES]
    rows += [["**processes of 20 workers**", "", ""]]
    rows += [_growth_row(str(many), results.drains[Case("asyncwork", 20, processes=many)]) for many in PROCESSES]
    rows += [["**workers in a pool**", "", ""]]
    rows += [_growth_row(f"{workers:,}", results.drains[Case("asyncwork", workers)]) for workers in WORKERS]
    rows += [["**more jobs waiting than are run**", "", ""]]
    rows += [_growth_row(f"{waiting:,}", runs) for waiting, runs in sorted(results.backlogs.items())]
    return table(head, rows)


def _growth_row(label: str, runs: Sequence[Drain]) -> list[str]:
    return [label, spread(_rates(runs)), spread([1e6 * run.cost for run in runs], "{:.1f}".format)]


def _targets(results: Results) -> str:
    rows = [[each.what, spread(each.found, each.shown), each.verdict] for each in targets(results)]
    return table(["", "found", ""], rows)
