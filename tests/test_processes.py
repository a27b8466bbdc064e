"""``asyncwork run --processes``: the parent keeps its child processes running. Each test runs real processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asyncwork import Client, UsageError
from asyncwork._processes.child import ChildCommand
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork.cli.processes import read_size
from asyncwork.embedded import EmbeddedRedis
from asyncwork.models.pools import Heartbeat

from .conftest import Bench, open_bench, until
from .test_cli import Program, at, program, run

ROOT = Path(__file__).parents[1]
DONE = r"serving in \d child process"
POOL = "d" * 24

pytestmark = pytest.mark.processes


class Fleet:
    """A parent that runs the app of ``apps/fleet.py``.

    :param events: the file that its jobs write.
    """

    def __init__(self, program: Program, events: Path) -> None:
        self.program = program
        self._events = events

    @property
    def events(self) -> list[tuple[str, int]]:
        """What jobs did, in order, with the process."""
        lines = self._events.read_text().splitlines() if self._events.exists() else []
        found = (re.fullmatch(r"(.*) (\d+) (\S*)", line) for line in lines)
        return [(each[1], int(each[2])) for each in found if each is not None]

    @property
    def versions(self) -> list[str]:
        """The versions of the code that have run jobs, in order."""
        return [line.rpartition(" ")[2] for line in self._events.read_text().splitlines()]

    async def did(self, event: str, times: int = 1) -> list[int]:
        """Wait until jobs did something so many times; return the processes."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = [pid for what, pid in self.events if what == event]
            return len(found) >= times

        await until(is_there)
        return found

    def children(self) -> dict[int, int]:
        """Return the newest process of each child, by number."""
        found = re.findall(r"starting \S+ in process (\d+), .* child=(\d+)", self.program.err)
        return {int(number): int(pid) for pid, number in found}


@asynccontextmanager
async def fleet(
    bench: Bench, tmp_path: Path, *options: str, serves: bool = True, env: dict[str, str] | None = None
) -> AsyncIterator[Fleet]:
    """Run two processes, unless the options say how many; wait until they serve."""
    events = tmp_path / "events"
    environment = {"FLEET_EVENTS": str(events), "PYTHONPATH": str(ROOT), **(env or {})}
    number = () if "--processes" in options else ("--processes", "2")
    async with program(*at(bench, "fleet:pool"), *number, *options, env=environment) as running:
        if serves:
            await running.says(DONE)
        yield Fleet(running, events)


async def stop(running: Fleet) -> None:
    running.program.send(signal.SIGTERM)
    assert await running.program.ends() == 0, running.program.err


async def test_jobs_run_in_several_processes_which_stop_with_the_parent(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    async with fleet(bench, tmp_path) as running:
        # More than one process runs at once.
        for number in range(6):
            await bench.enqueuer.enqueue("hold", {"text": str(number), "release": str(release)})
        await until(lambda: sum(what.startswith("start") for what, _ in running.events) == 6)
        pids = {pid for _, pid in running.events}
        assert pids == {*running.children().values()}
        assert len(pids) == 2
        running.program.send(signal.SIGTERM)
        await running.program.says(r"SIGTERM: stopping all child processes")
        await running.program.says(r"SIGTERM: stopping: no more jobs .* child=\d pid=\d+", 2)
        release.touch()
        assert await running.program.ends() == 0
    assert Counter(what for what, _ in running.events) == {
        f"{what} {n}": 1 for what in ("start", "end") for n in range(6)
    }
    assert "requeued" not in running.program.err


async def test_the_jobs_of_a_killed_child_run_again_although_no_reaper_has_considered_it_dead(
    bench: Bench, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    async with fleet(bench, tmp_path) as running:
        await bench.enqueuer.enqueue("hold", {"text": "x", "release": str(release)})
        (victim,) = await running.did("start x")
        os.kill(victim, signal.SIGKILL)
        first, second = await running.did("start x", 2)
        assert first != second
        requeued = await running.program.says(r"requeued 1 job of child (\d) \(process (\d+)\)")
        assert int(requeued[2]) == victim
        await running.program.says(rf"restarting child {requeued[1]} now: process {victim} was ended by SIGKILL")
        release.touch()
        await running.did("end x")
        await until(lambda: victim not in running.children().values())
        await stop(running)
    assert "is dead" not in running.program.err


async def test_jobs_of_a_child_that_dies_while_redis_is_away_run_when_it_is_there_again(tmp_path: Path) -> None:
    release = tmp_path / "release"
    with EmbeddedRedis(tmp_path / "data") as server:
        async with open_bench(server.url) as bench, fleet(bench, tmp_path) as running:
            await bench.enqueuer.enqueue("hold", {"text": "x", "release": str(release)})
            (victim,) = await running.did("start x")
            await asyncio.to_thread(server.stop)
            os.kill(victim, signal.SIGKILL)
            await running.program.says(rf"could not requeue the jobs of child \d \(process {victim}\): Redis failed")
            await asyncio.to_thread(server.start)
            await running.program.says(rf"requeued 1 job of child \d \(process {victim}\)")
            await running.did("start x", 2)
            release.touch()
            await running.did("end x")
            await stop(running)


async def test_a_job_that_kills_its_process_again_and_again_is_dead_and_its_stack_is_logged(
    bench: Bench, tmp_path: Path
) -> None:
    async with fleet(bench, tmp_path) as running:
        await bench.enqueuer.enqueue("crash", {})

        async def is_dead() -> bool:
            return bool(await bench.job_set("dead"))

        await until(is_dead)
        await running.did("crash", 3)
        await running.program.says(r"was ended by SIGSEGV\. Its stacks:")
        await running.program.says(r"fleet\.py\", line \d+ in crash")
        await stop(running)
    assert len([what for what, _ in running.events if what == "crash"]) == 3


async def test_a_rolling_restart_under_load_runs_the_newest_code_and_each_job_once(
    bench: Bench, tmp_path: Path
) -> None:
    version = tmp_path / "version"
    version.write_text("one")
    stopped = asyncio.Event()
    count = 0

    async def enqueue() -> None:
        nonlocal count
        while not stopped.is_set():
            await bench.enqueuer.enqueue("work", {"number": count})
            count += 1
            await asyncio.sleep(0.005)

    async with fleet(bench, tmp_path, env={"FLEET_VERSION": str(version)}) as running:
        before = running.children()
        enqueuing = asyncio.create_task(enqueue())
        await until(lambda: count > 50)
        version.write_text("two")
        running.program.send(signal.SIGUSR2)
        await running.program.says("rolling restart done")
        assert not {*before.values()} & {*running.children().values()}
        stopped.set()
        await enqueuing
        await until(lambda: len(running.events) == 2 * count)
        await bench.enqueuer.enqueue("note", {"text": "last"})
        await running.did("note last")
        async with Client(bench.url, namespace=bench.namespace) as client:
            assert {each.version_label for each in await client.heartbeats()} == {"two"}
            assert [each.version_label for each in await client.deployments()] == ["two", "one"]
        await stop(running)
    assert Counter(what for what, _ in running.events if what != "note last") == {
        f"{what} {number}": 1 for what in ("start", "end") for number in range(count)
    }
    assert running.versions[0] == "one"
    assert running.versions[-1] == "two"
    # The new one served before the old one stopped.
    for number, pid in before.items():
        assert re.search(
            rf"replaced child {number} \(process {pid}\) by process \d+, which serves", running.program.err
        )


async def test_sleeps_and_events_outlast_a_rolling_restart(bench: Bench, tmp_path: Path) -> None:
    version, count = tmp_path / "version", 8
    version.write_text("one")
    async with (
        fleet(bench, tmp_path, env={"FLEET_VERSION": str(version)}) as running,
        Client(bench.url, namespace=bench.namespace) as client,
    ):
        before = {*running.children().values()}
        jobs = [await bench.enqueuer.enqueue("fulfil", {"number": number}) for number in range(count)]
        await until(lambda: len(running.events) == count)
        # Some are sent while the job sleeps, some while the processes are replaced, and some after that.
        assert await client.signal(jobs[0].id, "approved", "early")
        version.write_text("two")
        running.program.send(signal.SIGUSR2)
        assert await client.signal(jobs[1].id, "approved", "meanwhile")
        await running.program.says("rolling restart done")
        assert not before & {*running.children().values()}
        for job in jobs[2:5]:
            assert await client.signal(job.id, "approved", "asleep or awaited")
        # By now, those are over that would have been charged again.
        for job in jobs[5:]:
            await until(lambda job=job: _waits_for_event(client, job.id))
            assert await client.signal(job.id, "approved", "awaited")
        await until(lambda: len(running.events) == 2 * count)
        await stop(running)
    answers = ["early", "meanwhile", *["asleep or awaited"] * 3, *["awaited"] * 3]
    assert Counter(what for what, _ in running.events) == {
        **{f"charge {number}": 1 for number in range(count)},
        **{f"ship {number} {answer}": 1 for number, answer in enumerate(answers)},
    }
    assert {pid for what, pid in running.events if what.startswith("charge")} <= before
    # A process may run what is due until it is replaced.
    assert not before & {pid for what, pid in running.events if what.endswith(" awaited") and "or" not in what}
    assert running.versions[-3:] == ["two"] * 3


async def _waits_for_event(client: Client, job_id: str) -> bool:
    return any(step.kind == "event" and step.state == "waits" for step in (await client.status(job_id)).steps)


async def test_a_new_version_that_fails_to_start_keeps_the_old_processes(bench: Bench, tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text("one")
    async with fleet(bench, tmp_path, env={"FLEET_VERSION": str(version)}) as running:
        before = running.children()
        version.write_text("broken")
        running.program.send(signal.SIGUSR2)
        await running.program.says(r"did not replace child 1 .* exited with code 2 before it served")
        await running.program.says("rolling restart stopped at child 1: it and those after it run on as they were")
        assert "this version is broken" in running.program.err
        await bench.enqueuer.enqueue("note", {"text": "still"})
        (pid,) = await running.did("note still")
        assert pid in before.values()
        await stop(running)


async def test_a_process_that_has_run_its_jobs_is_replaced_without_a_gap(bench: Bench, tmp_path: Path) -> None:
    async with fleet(bench, tmp_path, "--processes", "1", "--max-jobs", "5") as running:
        (first,) = running.children().values()
        for number in range(5):
            await bench.enqueuer.enqueue("work", {"number": number})
        await running.program.says(rf"replacing child 1 \(process {first}\): it has run 5 jobs \(--max-jobs 5\)")
        await running.program.says(rf"replaced child 1 \(process {first}\) by process \d+, which serves")
        await bench.enqueuer.enqueue("note", {"text": "x"})
        (pid,) = await running.did("note x")
        await until(lambda: running.children()[1] != first)
        assert pid in (first, running.children()[1])
        await stop(running)


async def test_a_process_that_uses_too_much_memory_is_replaced(bench: Bench, tmp_path: Path) -> None:
    async with fleet(bench, tmp_path, "--processes", "1", "--max-memory", "400M") as running:
        (first,) = running.children().values()
        await bench.enqueuer.enqueue("grow", {"megabytes": 500})
        await running.program.says(rf"replacing child 1 \(process {first}\): it uses \d+M \(--max-memory 400M\)")
        await running.program.says(rf"replaced child 1 \(process {first}\) by process")
        await stop(running)


async def test_when_no_process_can_start_the_parent_exits_with_1(bench: Bench, tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text("broken")
    async with fleet(bench, tmp_path, serves=False, env={"FLEET_VERSION": str(version)}) as running:
        assert await running.program.ends() == 1
    assert re.search(r"failed: no child process could start; .* exited with code 2", running.program.err)


async def test_when_the_parent_is_killed_its_children_stop_and_finish_their_jobs(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    async with fleet(bench, tmp_path) as running:
        await bench.enqueuer.enqueue("hold", {"text": "x", "release": str(release)})
        await running.did("start x")
        running.program.process.kill()
        await running.program.says("the parent process has ended: stopping", 2)
        release.touch()
        await running.did("end x")
        await running.program.says(r"stopped after .* child=\d", 2)
        await running.program.ends()


# Four times as long as a reaper waits there, and much longer.
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.long)])
async def test_a_handler_that_holds_the_gil_runs_once(bench: Bench, tmp_path: Path, seconds: int) -> None:
    env = {"FLEET_QUICK": "1"}
    async with fleet(bench, tmp_path, env=env) as running:
        await bench.enqueuer.enqueue("hold_gil", {"seconds": seconds})
        await running.did("start gil")
        await running.program.says(r"renewing the heartbeat of child \d .* a handler holds the GIL")
        await running.did("end gil")
        await running.program.says("reports resumed: child")
        await stop(running)
    assert Counter(what for what, _ in running.events) == {"start gil": 1, "end gil": 1}
    assert "considered dead" not in running.program.err


async def test_a_stopped_process_is_not_considered_dead(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    async with fleet(bench, tmp_path, env={"FLEET_QUICK": "1"}) as running:
        await bench.enqueuer.enqueue("hold", {"text": "x", "release": str(release)})
        (pid,) = await running.did("start x")
        os.kill(pid, signal.SIGSTOP)
        try:
            await running.program.says(rf"renewing the heartbeat of child \d \(process {pid}\)")
            (key,) = [
                bench.keys.heartbeat(each.pool_id)
                for each in await PoolRegistry(bench.in_redis).heartbeats()
                if each.pid == pid
            ]
            beats = int(await bench.redis.hget(key, "beats"))

            async def is_older_than_a_reaper_allows() -> bool:
                return int(await bench.redis.hget(key, "beats")) >= beats + 6

            await until(is_older_than_a_reaper_allows)
        finally:
            os.kill(pid, signal.SIGCONT)
        await running.program.says("reports resumed: child")
        release.touch()
        await running.did("end x")
        await stop(running)
    assert Counter(what for what, _ in running.events) == {"start x": 1, "end x": 1}


def test_children_start_in_the_directory_that_a_link_names_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "one")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    assert ChildCommand([]).directory == link
    # A shell that has not set it for this directory.
    monkeypatch.setenv("PWD", str(tmp_path / "two"))
    assert ChildCommand([]).directory == tmp_path / "one"


async def test_a_process_that_holds_the_gil_for_too_long_is_killed(bench: Bench, tmp_path: Path) -> None:
    async with fleet(bench, tmp_path, "--stuck", "2") as running:
        await bench.enqueuer.enqueue("hold_gil", {"seconds": 100_000})
        (first,) = await running.did("start gil")
        await running.program.says(rf"killing child \d \(process {first}\): it has reported nothing for")
        await running.program.says(rf"process {first} was killed: it was silent for \d+ s \(--stuck 2\)\. Its stacks:")
        await running.program.says(r"fleet\.py\", line \d+ in hold_gil")
        await running.program.says(r"requeued 1 job of child")
        # It ends with the poison pill's crashes.
        await running.did("start gil", 3)

        async def is_dead() -> bool:
            return bool(await bench.job_set("dead"))

        await until(is_dead)
        await stop(running)


async def test_a_quiet_fleet_fetches_no_jobs_even_in_a_new_process(bench: Bench, tmp_path: Path) -> None:
    async with fleet(bench, tmp_path) as running:
        running.program.send(signal.SIGTSTP)
        await running.program.says(r"SIGTSTP: quiet: .*child=\d", 2)
        os.kill(running.children()[1], signal.SIGKILL)
        await running.program.says(r"SIGTSTP: quiet: .*child=1", 2)
        await stop(running)


async def test_a_fleet_that_an_operator_has_run_again_can_be_quiet_again(bench: Bench, tmp_path: Path) -> None:
    async with fleet(bench, tmp_path) as running, Client(bench.url, namespace=bench.namespace) as client:
        running.program.send(signal.SIGTSTP)
        await running.program.says(r"SIGTSTP: quiet: .*child=\d", 2)
        for heartbeat in await client.heartbeats():
            await client.unquiet_pool(heartbeat.pool_id)
        await running.program.says(r"running: jobs are fetched again.*child=\d", 2)

        async def is_shown() -> bool:
            running.program.send(signal.SIGTTIN)
            await asyncio.sleep(0.2)
            return all(re.search(rf"SIGTTIN: child {number} .* is running,", running.program.err) for number in (1, 2))

        await until(is_shown)
        running.program.send(signal.SIGTSTP)
        await running.program.says(r"SIGTSTP: quiet: .*child=\d", 4)
        await stop(running)


async def test_the_second_signal_cancels_running_jobs_and_the_third_kills(bench: Bench, tmp_path: Path) -> None:
    async with fleet(bench, tmp_path) as running:
        await bench.enqueuer.enqueue("hold", {"text": "x", "release": str(tmp_path / "never")})
        await running.did("start x")
        running.program.send(signal.SIGTERM)
        await running.program.says(r"SIGTERM: stopping: .*child=\d", 2)
        running.program.send(signal.SIGTERM)
        await running.program.says("SIGTERM: cancelling the running jobs of all child processes")
        assert await running.program.ends() == 0
    assert len(await bench.waiting("hold")) == 1
    async with fleet(bench, tmp_path) as running:
        await bench.enqueuer.enqueue("block", {"release": str(tmp_path / "never")})
        await running.did("start block")
        for times in (1, 2, 3):
            running.program.send(signal.SIGTERM)
            await running.program.says("^.*SIGTERM: (stopping|cancelling|killing) .*child processes", times)
        assert await running.program.ends() == 1
    assert len(await bench.waiting("block")) == 1
    assert len(await bench.waiting("hold")) == 1
    await bench.redis.delete(bench.keys.queue("hold"), bench.keys.queue("block"), bench.keys.crashes)


async def test_burst_ends_when_all_processes_have_ended(bench: Bench, tmp_path: Path) -> None:
    for number in range(20):
        await bench.enqueuer.enqueue("work", {"number": number})
    async with fleet(bench, tmp_path, "--burst", serves=False) as running:
        assert await running.program.ends() == 0
    assert len([what for what, _ in running.events if what.startswith("end")]) == 20
    assert running.program.err.count("cli  the queues are empty") == 2, running.program.err


async def test_processes_share_an_embedded_redis(tmp_path: Path) -> None:
    env = {"FLEET_EVENTS": str(tmp_path / "events"), "PYTHONPATH": str(ROOT)}
    arguments = ("run", "fleet:pool", "--embedded", str(tmp_path / "data"), "--processes", "2")
    async with program(*arguments, env=env) as running:
        await running.says(DONE)
        assert running.err.count("started a Redis server") == 1
        running.send(signal.SIGTERM)
        assert await running.ends() == 0


async def test_sigttin_writes_what_each_worker_does_although_one_blocks_the_loop(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    async with fleet(bench, tmp_path, "--processes", "1") as running:
        await bench.enqueuer.enqueue("hold", {"text": "x", "release": str(release)})
        await bench.enqueuer.enqueue("hold_in_thread", {"release": str(release)})
        await running.did("start x")
        await running.did("start thread")
        await bench.enqueuer.enqueue("block", {"release": str(release)})
        await running.did("start block")
        running.program.send(signal.SIGTTIN)
        await running.program.says(r"SIGTTIN: child 1 \(process \d+\) is running")
        await running.program.says(r"SIGTTIN: 3 of 4 workers are busy  child=1")
        for name in ("hold", "hold_in_thread", "block"):
            await running.program.says(rf"worker \d: {name} \S+, for [\d.]+ s")
            await running.program.says(rf"in {name}$")
        await running.program.says("the event loop is here:")
        release.touch()
        await stop(running)


async def test_sigttin_in_a_single_process(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    env = {"FLEET_EVENTS": str(tmp_path / "events"), "PYTHONPATH": str(ROOT)}
    async with program(*at(bench, "fleet:pool"), env=env) as running:
        single = Fleet(running, tmp_path / "events")
        await bench.enqueuer.enqueue("block", {"release": str(release)})
        await single.did("start block")
        running.send(signal.SIGTTIN)
        await running.says(r"SIGTTIN: 1 of 4 workers are busy$")
        await running.says(r"in block$")
        release.touch()
        running.send(signal.SIGTERM)
        assert await running.ends() == 0


@asynccontextmanager
async def manager(tmp_path: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """A socket as that of systemd; yields its path, and the lines that it gets."""
    path, lines = str(tmp_path / "notify"), list[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(path)
        channel.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(channel, lambda: lines.extend(channel.recv(4096).decode().splitlines()))
        try:
            yield path, lines
        finally:
            loop.remove_reader(channel)


@pytest.mark.parametrize("options", [("--processes", "2"), ()])
async def test_systemd_is_notified(bench: Bench, tmp_path: Path, options: tuple[str, ...]) -> None:
    async with manager(tmp_path) as (path, lines):
        env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000", "PYTHONPATH": str(ROOT)}
        env |= {"FLEET_EVENTS": str(tmp_path / "events")}
        async with program(*at(bench, "fleet:pool"), *options, env=env) as running:
            await until(lambda: "READY=1" in lines)
            await until(lambda: lines.count("WATCHDOG=1") >= 2)
            if options:
                running.send(signal.SIGUSR2)
                await running.says("rolling restart done")
                await until(lambda: lines.count("READY=1") == 2)
                assert lines.index("RELOADING=1") < len(lines) - lines[::-1].index("READY=1")
                assert any(line.startswith("MONOTONIC_USEC=") for line in lines)
            assert "STOPPING=1" not in lines
            running.send(signal.SIGTERM)
            assert await running.ends() == 0
        await until(lambda: "STOPPING=1" in lines)


async def test_bad_options_of_processes() -> None:
    for options, message in (
        (("--processes", "0"), "a number of processes from 1 to 1000, or auto, is needed, not '0'"),
        (("--processes", "some"), "--processes: a number of processes"),
        (("--max-jobs", "5"), "--max-jobs replaces one of several processes: add --processes"),
        (("--processes", "2", "--max-jobs", "0"), "a number from 1 is needed, not '0'"),
        (("--processes", "2", "--max-memory", "big"), "a size such as 512M or 2G is needed, not 'big'"),
        (("--stuck", "-1"), "--stuck: a number of seconds from 0 is needed"),
    ):
        code, _, err = await run("run", "shop:pool", *options)
        assert code == 2
        assert message in err
    code, _, err = await run("run", "shop:pool", env={"ASYNCWORK_PROCESSES": "many"})
    assert code == 2
    assert "ASYNCWORK_PROCESSES: a number of processes" in err


def test_sizes() -> None:
    assert [read_size(text) for text in ("1", "3K", "512M", "2g")] == [1, 3072, 512 * 1024**2, 2 * 1024**3]
    for text in ("", "M", "0M", "1.5G", "1T", "²M"):
        with pytest.raises(UsageError, match="a size such as"):
            read_size(text)


async def test_a_heartbeat_is_renewed_only_while_there_is_one(bench: Bench) -> None:
    registry = PoolRegistry(bench.in_redis)
    key = bench.keys.heartbeat(POOL)
    assert not await registry.renew_heartbeat(POOL, 7.0)
    await registry.write_heartbeat(Heartbeat(POOL, 5, 5, ("wat",), 1, ("w",), "host", 1))
    assert await registry.renew_heartbeat(POOL, 7.9)
    assert await bench.redis.hmget(key, "heartbeat_at", "beats") == [b"7", b"2"]
    await bench.redis.srem(bench.keys.worker_pools, POOL)
    assert not await registry.renew_heartbeat(POOL, 9.0)
    await bench.redis.sadd(bench.keys.worker_pools, POOL)
    await bench.redis.delete(key)
    assert not await registry.renew_heartbeat(POOL, 9.0)
    assert not await bench.redis.exists(key)
    await bench.redis.set(key, "not a hash")
    assert not await registry.renew_heartbeat(POOL, 9.0)
    await bench.redis.delete(key)
    await registry.forget_pool(POOL)
