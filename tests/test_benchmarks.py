"""The benchmarks run and draw. Their figures are not tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import flows, limits, pythons
from benchmarks.catalogue import PEERS
from benchmarks.measure import Drain
from benchmarks.orders import FLOWS, LIMITS, Case, Drained, Order
from benchmarks.parent import parent_of, serving
from benchmarks.picture import PICTURE, picture
from benchmarks.quick import report
from benchmarks.recording import FlowRecorder
from benchmarks.redis_use import Use
from benchmarks.report import sections
from benchmarks.results import Results
from benchmarks.rolling import Rolled, account
from benchmarks.speed import DOCUMENTS, RECORD, Speed, replace_figures
from benchmarks.turns import Turns

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent


def output_of(*command: str) -> str:
    """Run a module, which must succeed; return what it prints."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_quick_run_measures_and_prints_tables() -> None:
    printed = output_of("benchmarks", "--quick", "--only", "enqueue,sleep", "--peers", "none")
    for headline in ("Enqueueing", "Jobs that sleep 10 ms", "Targets"):
        assert f"## {headline}\n\n|" in printed
    assert len(re.findall(r"^\| asyncwork +\|", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^\| asyncio alone +\|", printed, re.MULTILINE)) == 1
    # asyncwork as a share of coroutines alone, on each event loop.
    share = r"^\| asyncwork(, uvloop|, with a timeout){0,2} +\| +100 \| .* \| +[\d.]+% \| +[\d.]+% \|$"
    assert len(re.findall(share, printed, re.MULTILINE)) in (2, 4)
    assert "10 ms, 100 workers, asyncio: 95 % of coroutines alone" in printed


@pytest.mark.long
def test_a_quick_run_of_jobs_with_results_prints_its_tables() -> None:
    printed = output_of("benchmarks.tracking", "--quick", "--peers", "none")
    tables = re.split(r"\n\n", printed.strip())[1:]
    assert [len(each.splitlines()) for each in tables] == [3, 4, 3, 5]
    assert re.search(r"^\| asyncwork +\| +\d+\.\d\d \| +\d+\.\d\d \|$", tables[0], re.MULTILINE)
    assert "with results" in tables[1]
    assert "500 waiters" in tables[2]
    assert "timeout of its type" in tables[3]


def test_the_cost_of_the_metrics_is_printed() -> None:
    printed = output_of("benchmarks.attempt_cost", "--quick")
    assert re.fullmatch(
        r"counting an attempt: \d+ ns, -?\d+ ns of them for the histograms\na scrape with 100 names: .* ms, \d+ kB\n",
        printed,
    )


def test_the_cost_of_batches_is_printed() -> None:
    printed = output_of("benchmarks.batch_cost", "--quick")
    assert re.fullmatch(
        r"plain jobs: [\d,]+ a second; members: [\d,]+ a second\n"
        r"a member takes \d+\.\d\d times as long as a plain job \(median of 1 pairs\)\n",
        printed,
    )


def test_what_limits_cost_is_printed() -> None:
    printed = output_of("benchmarks.limits", "--quick", "--peers", "none")
    assert "### Limits\n\n| asyncwork, 100 workers " in printed
    for name in (*LIMITS.values(), "fair, 10 tenants", "fair, 1,000 tenants"):
        assert re.search(
            rf"^\| {name}.* \| +2,000 \| +[\d,]+ \| +\d+\.\d\d \| +[\d.]+ \| +[\d.]+ \|$", printed, re.MULTILINE
        ), name
    assert len(re.findall(r"of plain +\| .* \| +(?:not )?reached \|$", printed, re.MULTILINE)) == 8
    assert "### Beside others" not in printed


def test_what_flows_cost_is_printed() -> None:
    printed = output_of("benchmarks.flows", "--quick", "--peers", "none")
    for name, jobs in (
        ("plain jobs", "2,000"),
        (FLOWS["batch"], "2,001"),
        (FLOWS["fan"], "201"),
        (FLOWS["chain"], "20"),
    ):
        row = rf"^\| asyncwork: {name} +\| +{jobs} \| +\d+\.\d\d \| +\d+\.\d\d \| +[\d,]+ \| +\|$"
        assert re.search(row, printed, re.MULTILINE), name
    assert re.search(r"^\| fan-out of 10,000: 5 x the quickest peer +\| +\| not measured \|$", printed, re.MULTILINE)


def test_a_peer_of_the_limits_is_compared_with_what_does_the_same() -> None:
    cases = {case: [drained(0.02), drained(0.04)] for case in limits.cases_of("asyncwork", ["rate", "fair"])}
    cases.update({case: [drained(0.2), drained(0.4)] for case in limits.cases_of("bullmq", ["rate"])})
    cases.update({case: [drained(2), drained(4)] for case in limits.cases_of("docket", ["unique"])})
    printed = "\n".join(limits.report(Turns(cases)))
    assert re.search(r"^\| bullmq: rate +\| +1,000 \| [^|]* \| +10.0 \|", printed, re.MULTILINE)
    assert re.search(r"^\| rate: 10 x bullmq +\| +10.0 x \| +reached \|$", printed, re.MULTILINE)
    assert re.search(r"^\| fair, 10 tenants: 33% of plain +\| +1.00 \| +reached \|$", printed, re.MULTILINE)
    # asyncwork's has not been measured.
    assert re.search(r"^\| unique: 10 x docket +\| +\| not measured \|$", printed, re.MULTILINE)


def test_flows_are_compared_with_the_quickest_peer() -> None:
    seconds = {"asyncwork": 0.01, "bullmq": 0.04, "streaq": 0.08}
    cases = {Case(side, 100, names=1, flow="fan"): [drained(each)] for side, each in seconds.items()}
    printed = "\n".join(flows.report(Turns(cases)))
    assert re.search(r"^\| streaq: flow with a fan-in +\| .* \| +12,500 \| +8.0 \|$", printed, re.MULTILINE)
    assert re.search(r"the quickest peer +\| +4.0 x \| +not reached \|$", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("flow", "runs", "early"),
    [("fan", [1, 0, 2], 0), ("fan", [2, 0, 1], 1), ("chain", [0, 1, 2], 0), ("chain", [1, 0, 2], 1)],
)
def test_jobs_that_run_too_early_are_counted(flow: str, runs: list[int], early: int) -> None:
    done: list[bool] = []
    recorder = FlowRecorder(Order("drain", "", Case("asyncwork", 10, flow=flow), 3), lambda: done.append(True))
    for index in runs:
        recorder.ran(index)
    assert (recorder.result().early, recorder.result().not_once, done) == (early, 0, [True])


def test_one_tenant_has_three_of_five_jobs_and_the_others_have_equally_many() -> None:
    case = Case("asyncwork", 100, tenants=5)
    counts = [0] * 5
    for index in range(1_000):
        counts[case.args(index)["tenant"]] += 1
    assert counts == [600, 100, 100, 100, 100]


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
    printed = output_of("benchmarks.fleet", "--quick")
    assert re.search(r"^\| 4 .*\| +\d+\.\d \|$", printed, re.MULTILINE)
    assert re.search(r"^\| HMGET +\| +\d+\.\d\d \| +\d+\.\d\d \|$", printed, re.MULTILINE)


@pytest.mark.long
def test_a_quick_run_that_kills_processes_loses_no_job() -> None:
    printed = output_of("benchmarks.killing", "--quick")
    assert re.search(r"^\| 5,000 jobs, 5 kills \| .* \| +0 \| +\d+ \| +\d+ \|$", printed, re.MULTILINE)


@pytest.mark.long
def test_a_quick_rolling_restart_cuts_off_no_job() -> None:
    printed = output_of("benchmarks.rolling", "--quick")
    assert re.search(r"^[\d,]+ jobs, 0 cut off, 0 started twice; the restart took", printed, re.MULTILINE)
    assert re.search(r"^\| restart \| .* \| +\d+% \|$", printed, re.MULTILINE)


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
    for workers in (10, 20, 100):
        results.drains[Case("baseline", workers)] = [drained(0.01), drained(0.02)]
        results.drains[Case("asyncwork", workers)] = [drained(0.02), drained(0.04)]
        for side in PEERS:
            results.drains[Case(side.name, min(workers, side.most))] = [drained(0.2), drained(0.4)]
    return results


def recorded(results: Results) -> Speed:
    return Speed.of(results, day="2030-12-31", machine="2 cores", versions="CPython 3.11.7", load=(0.5, 1.25), rounds=2)


def test_the_picture_is_well_formed_and_shows_every_side() -> None:
    root = ElementTree.fromstring(picture(recorded(measured())))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"asyncwork", "rq, 1 worker", *(side.name for side in PEERS if side.name != "rq")} <= set(texts)
    # The middle of 50,000 and 25,000, on top.
    assert texts.index("37,500") == texts.index("asyncwork") + 1 == 3


def test_the_speed_is_written_and_read(tmp_path: Path) -> None:
    speed = recorded(measured())
    speed.write(tmp_path / "build" / "speed.json")
    assert Speed.read(tmp_path / "build" / "speed.json") == speed
    assert speed.rates["asyncwork"] == {workers: [50_000, 25_000] for workers in (10, 20, 100)}
    # It runs one job at a time, whatever is asked of it.
    assert list(speed.rates["rq"]) == [1]
    assert speed.rate("rq", 10) == speed.rate("rq", 100) == 3_750


def test_the_documents_get_words_and_a_table() -> None:
    document = "before\n<!-- speed: words -->\nold\n<!-- end -->\n\n<!-- speed: table -->\n\n<!-- end -->\nafter\n"
    made = replace_figures(document, recorded(measured()))
    assert made.startswith(
        "before\n<!-- speed: words -->\n\nOne worker process ran 38,000 no-op jobs per second with 10 "
    )
    assert "that is 10 times as many as gocraft/work, and 10 times as many as " in " ".join(made.split())
    assert "old" not in made
    assert "2 cores; load average 0.5 and 1.2 before and after." in made
    assert re.search(r"^\| asyncwork +\| +37,500 \| +37,500 \| +37,500 \| +yes \|$", made, re.MULTILINE)
    assert re.search(r"^\| rq \(it runs 1 at once\) \| +3,750 \| +\| +\| +no \|$", made, re.MULTILINE)
    assert made.endswith("<!-- end -->\nafter\n")
    assert replace_figures(made, recorded(measured())) == made


def test_the_documents_have_the_recorded_figures() -> None:
    speed = Speed.read(RECORD)
    assert PICTURE.read_text(encoding="utf-8") == picture(speed)
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert "<!-- speed: words -->" in text
        assert replace_figures(text, speed) == text


def test_a_speed_without_asyncwork_has_no_words() -> None:
    with pytest.raises(LookupError, match="asyncwork was not measured with 10 and 100 workers"):
        replace_figures("", Speed("2030-12-31", "", "", (0.0, 0.0), 1, {}))


@pytest.mark.long
def test_two_checkouts_are_compared(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "asyncwork", tmp_path / "asyncwork", ignore=shutil.ignore_patterns("__pycache__"))
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    # The other checkout has a benchmark of its own, which is not run, and says when its package is used.
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise SystemExit('it is run')")
    with (tmp_path / "asyncwork" / "__init__.py").open("a") as file:
        file.write(f"\nopen({str(tmp_path / 'used')!r}, 'a').close()\n")
    printed = output_of("benchmarks.quick", "--tiny", "--base", str(tmp_path))
    assert f"- base: {tmp_path}\n- this: {ROOT}" in printed
    assert (tmp_path / "used").exists()
    figure = r"[\d,.]+"
    rows = re.findall(
        rf"^\| .+ \| +{figure} \| +{figure} \| +{figure} \({figure}-{figure}\) \|$", printed, re.MULTILINE
    )
    assert len(rows) == 14


def test_without_another_checkout_the_figures_of_this_one_are_printed() -> None:
    found = {"asyncwork": {"bulk enqueue: jobs/s": [1_000.0, 3_000.0, 2_000.0]}}
    assert "| bulk enqueue: jobs/s | 2,000 (1,000-3,000) |" in report(found)


def test_pairs_of_two_checkouts_have_the_ratio_of_their_medians() -> None:
    found = {"base": {"jobs/s": [10.0, 20.0, 40.0]}, "asyncwork": {"jobs/s": [20.0, 30.0, 50.0]}}
    assert "| jobs/s | 20.00 | 30.00 |    1.50 (1.25-2.00) |" in report(found)


def test_a_checkout_without_an_environment_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.quick", "--base", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"--base: {tmp_path} has no .venv: run `make .venv/.ready` there" in done.stderr


def test_a_python_is_measured_on_both_event_loops() -> None:
    cases = {Case("CPython 3.11.7", 10, uvloop=uvloop): [drained(0.02), drained(0.04)] for uvloop in (False, True)}
    text = pythons.report({"no-op, 10 workers": cases})
    assert re.search(r"^\| no-op, 10 workers: CPython 3.11.7 +\| .* \| +\| +100.0 \| +\|$", text, re.MULTILINE)
    assert re.search(r"3.11.7, uvloop \| .* \| +1.00 \| +100.0 \| +1.00 \|$", text, re.MULTILINE)


def test_ratios_are_taken_within_the_rounds() -> None:
    (ratios,) = [each for each in sections(measured()) if each.startswith("## Ratios")]
    assert "20 workers" in ratios
    assert ratios.count("10.00 |") == 6
    assert ratios.count("0.50 |") == 3


def test_a_peer_that_fails_is_in_no_table_but_among_the_missing() -> None:
    results = measured()
    results.drop("arq", "it hangs")
    tables = "\n".join(sections(results))
    assert tables.count("arq") == 1
    assert "- arq: it hangs" in tables
