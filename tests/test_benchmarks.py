"""The benchmarks run and draw. Their figures are not tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.catalogue import PEERS
from benchmarks.measure import Drain
from benchmarks.orders import Case, Drained
from benchmarks.parent import parent_of, serving
from benchmarks.picture import picture
from benchmarks.redis_use import Use
from benchmarks.report import sections
from benchmarks.results import Results
from benchmarks.rolling import Rolled, account

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent


def test_a_quick_run_measures_and_prints_tables() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "enqueue,sleep", "--peers", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for headline in ("Enqueueing", "Jobs that sleep 10 ms", "Targets"):
        assert f"## {headline}\n\n|" in done.stdout
    assert len(re.findall(r"^\| asyncwork +\|", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(r"^\| asyncio alone +\|", done.stdout, re.MULTILINE)) == 1


def test_a_quick_run_of_jobs_with_results_prints_its_tables() -> None:
    command = [sys.executable, "-m", "benchmarks.tracking", "--quick", "--peers", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tables = re.split(r"\n\n", done.stdout.strip())[1:]
    assert [len(each.splitlines()) for each in tables] == [3, 4, 3, 5]
    assert re.search(r"^\| asyncwork +\| +\d+\.\d\d \| +\d+\.\d\d \|$", tables[0], re.MULTILINE)
    assert "with results" in tables[1]
    assert "500 waiters" in tables[2]
    assert "timeout of its type" in tables[3]


def test_the_cost_of_the_metrics_is_printed() -> None:
    command = [sys.executable, "-m", "benchmarks.attempt_cost", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"counting an attempt: \d+ ns, -?\d+ ns of them for the histograms\na scrape with 100 names: .* ms, \d+ kB\n",
        done.stdout,
    )


def test_only_children_of_the_parent_are_killed() -> None:
    line = "2030-01-01 INFO  cli  running up to 10 jobs at once on Redis 8.0.0, until SIGTERM  child=1 pid=4711\n"
    assert serving(line) == [4711]
    # The last line may be half written.
    assert serving(line[:-1]) == serving(line[:-3]) == []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert parent_of(child.pid) == os.getpid()
        child.communicate()
        assert parent_of(child.pid) == 0
    assert parent_of(os.getpid()) == os.getppid()


@pytest.mark.long
def test_what_idle_pools_cost_is_printed_and_dead_ones_are_noticed() -> None:
    command = [sys.executable, "-m", "benchmarks.fleet", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| 4 .*\| +\d+\.\d \|$", done.stdout, re.MULTILINE)
    assert re.search(r"^\| HMGET +\| +\d+\.\d\d \| +\d+\.\d\d \|$", done.stdout, re.MULTILINE)


@pytest.mark.long
def test_a_quick_run_that_kills_processes_loses_no_job() -> None:
    command = [sys.executable, "-m", "benchmarks.killing", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| 5,000 jobs, 5 kills \| .* \| +0 \| +\d+ \| +\d+ \|$", done.stdout, re.MULTILINE)


@pytest.mark.long
def test_a_quick_rolling_restart_cuts_off_no_job() -> None:
    command = [sys.executable, "-m", "benchmarks.rolling", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[\d,]+ jobs, 0 cut off, 0 started twice; the restart took", done.stdout, re.MULTILINE)
    assert re.search(r"^\| restart \| .* \| +\d+% \|$", done.stdout, re.MULTILINE)


def test_a_rolling_restart_is_accounted_for() -> None:
    half, began = 500_000_000, 1_000_000_000_000
    # Two jobs in each half second; one is cut off and starts again, one starts again although it has ended.
    lines = [f"{what} {number} 7 {began + number * half // 2}" for number in range(-12, 8) for what in ("start", "end")]
    lines.remove(f"end 3 7 {began + 3 * half // 2}")
    lines += [f"start 3 8 {began + 2 * half}", f"end 3 8 {began + 2 * half}", f"start 4 8 {began + 2 * half}"]
    found = account("\n".join(lines), began, began + 2 * half, began + 4 * half)
    assert found == Rolled([2] * 4, [2, 1, 3], [2], cut_off=2, twice=2, jobs=20, restart_seconds=1.0)


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        (["--peers", "arq,cellery"], "unknown peer: cellery; choose from gocraft/work, "),
        (["--only", "drains"], "unknown measurement: drains"),
        (["--rounds", "0"], "must be a whole number of at least 1, not '0'"),
    ],
)
def test_invalid_arguments_are_refused(argument: list[str], answer: str) -> None:
    command = [sys.executable, "-m", "benchmarks", *argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert answer in done.stderr


def drained(seconds: float) -> Drain:
    return Drain(1000, Drained(seconds, 0.1, 1 << 25, 1 << 25, 1 << 25, 0), Use(0.01, 5000, 100))


def measured() -> Results:
    """Two rounds in which asyncwork was ten times as quick as any peer."""
    results = Results()
    for workers in (20, 100):
        results.drains[Case("baseline", workers)] = [drained(0.01), drained(0.02)]
        results.drains[Case("asyncwork", workers)] = [drained(0.02), drained(0.04)]
        for side in PEERS:
            results.drains[Case(side.name, workers)] = [drained(0.2), drained(0.4)]
    return results


def test_the_picture_is_well_formed_and_shows_every_side() -> None:
    root = ElementTree.fromstring(picture(measured()))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"asyncwork", *(side.name for side in PEERS)} <= set(texts)
    # The middle of 50,000 and 25,000.
    assert texts.count("37,500") == 2


def test_ratios_are_taken_within_the_rounds() -> None:
    (ratios,) = [each for each in sections(measured()) if each.startswith("## Ratios")]
    assert "20 workers" in ratios
    assert ratios.count("10.00 |") == 4
    assert ratios.count("0.50 |") == 2


def test_a_peer_that_fails_is_in_no_table_but_among_the_missing() -> None:
    results = measured()
    results.drop("arq", "it hangs")
    tables = "\n".join(sections(results))
    assert tables.count("arq") == 1
    assert "- arq: it hangs" in tables
