"""Real servers on free ports of this machine, for tests that need several. They end with the test."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import RedisError

from asyncwork.embedded import find_redis_server

# Seconds for what takes milliseconds, or sentinels and clusters some seconds, on a machine that is not overloaded.
TIMEOUT = 120.0

# Ends the server when the pipe from this process ends.
_GUARD = 'exec 3<&0 </dev/null; "$@" 3<&- >/dev/null 2>&1 & echo $!; read -r line <&3; kill -KILL $!; wait'
# Below the ports that the system gives out by itself, also with the 10000 more of a cluster's bus.
_PORTS = range(12_000, 22_000)


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds; return what it is then. A server that is away is as good as that it does not."""
    end = time.monotonic() + TIMEOUT
    while True:
        with suppress(RedisError):
            if answer := condition():
                return answer
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


class Node:
    """A server, in a directory of its own.

    :param lines: of its configuration.
    :param arguments: of its command line.
    """

    def __init__(self, directory: Path, lines: Sequence[str], *arguments: str, program: str = "") -> None:
        directory.mkdir()
        self._directory = directory
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        own = ["bind 127.0.0.1", f"port {self.port}", 'save ""', "logfile redis.log"]
        (directory / "redis.conf").write_text("".join(f"{line}\n" for line in [*own, *lines]))
        command = [program or str(find_redis_server()), "redis.conf", *arguments]
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            # Redis 7 and later do not start in a locale that is not installed.
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        self._pid = int(self._guard.stdout.readline())

    def __enter__(self) -> Node:
        try:
            eventually(self._answers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            assert self._guard.stdin is not None
            self._guard.stdin.close()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(100))
        return False

    def ask(self, *command: str | int) -> Any:
        """Ask it something, as text."""
        with Redis(port=self.port, protocol=2, decode_responses=True, socket_timeout=TIMEOUT) as client:
            return client.execute_command(*command)

    def role(self) -> str:
        """Return whether it is a ``master`` or a ``slave``."""
        return str(self.ask("ROLE")[0])

    def id(self) -> str:
        """Return by which name the other nodes of a cluster know it."""
        return str(self.ask("CLUSTER", "MYID"))

    def confirm(self, key: str = "marker") -> None:
        """Return when its replica has everything that it has; writes a key for that."""
        with Redis(port=self.port, protocol=2) as client:
            client.set(key, 1)
            assert client.wait(1, int(1_000 * TIMEOUT)) == 1

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self._pid, number)


def free_port() -> int:
    """Return a port on which no process listens."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


class Watched:
    """A master, a replica, and three sentinels that watch them.

    :ivar url: by which the sentinels report where the master is.
    """

    service = "jobs"

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.master = stack.enter_context(Node(directory / "master", []))
        replica = [f"replicaof 127.0.0.1 {self.master.port}", "repl-diskless-sync-delay 0"]
        self.replica = stack.enter_context(Node(directory / "replica", replica))
        self.sentinels = [self._watch(directory / f"sentinel-{number}", stack) for number in range(3)]
        self.url = f"redis+sentinel://{','.join(each.address for each in self.sentinels)}/{self.service}"
        eventually(lambda: all(map(self._knows_all, self.sentinels)))
        self.master.confirm()

    def _watch(self, directory: Path, stack: ExitStack) -> Node:
        lines = [
            f"sentinel monitor {self.service} 127.0.0.1 {self.master.port} 2",
            f"sentinel down-after-milliseconds {self.service} 500",
            f"sentinel failover-timeout {self.service} 3000",
        ]
        return stack.enter_context(Node(directory, lines, "--sentinel"))

    def _knows_all(self, sentinel: Node) -> bool:
        answer = sentinel.ask("SENTINEL", "MASTER", self.service)
        state = dict(zip(answer[::2], answer[1::2], strict=True))
        return int(state["num-slaves"]) == 1 and int(state["num-other-sentinels"]) == 2

    def moved(self) -> bool:
        """Return whether the sentinels call the replica the master."""
        answers = [each.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service) for each in self.sentinels]
        return all(int(port) == self.replica.port for _, port in answers)


@contextmanager
def watched(directory: Path) -> Iterator[Watched]:
    """A master with its replica and sentinels."""
    with ExitStack() as stack:
        yield Watched(directory, stack)


class Clustered:
    """A cluster of three masters.

    :ivar url: by which its nodes report who holds a slot.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.nodes = [self._add() for _ in range(3)]
        self.url = f"redis+cluster://{','.join(each.address for each in self.nodes)}/"
        share = -(-REDIS_CLUSTER_HASH_SLOTS // len(self.nodes))
        for number, node in enumerate(self.nodes):
            first, last = number * share, min((number + 1) * share, REDIS_CLUSTER_HASH_SLOTS)
            node.ask("CLUSTER", "ADDSLOTS", *range(first, last))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self._join(self.nodes[0])

    def _add(self) -> Node:
        number = len(list(self._directory.iterdir()))
        lines = ["cluster-enabled yes", "cluster-node-timeout 1000", "repl-diskless-sync-delay 0"]
        return self._stack.enter_context(Node(self._directory / f"node-{number}", lines))

    def _join(self, known: Node) -> None:
        """Have all nodes know each other, by one that others know or shall know."""
        for node in self.nodes:
            node.ask("CLUSTER", "MEET", "127.0.0.1", known.port)
        eventually(lambda: all(map(self._is_whole, self.nodes)))

    def _is_whole(self, node: Node) -> bool:
        info = node.ask("CLUSTER", "INFO")
        return "cluster_state:ok" in info and f"cluster_known_nodes:{len(self.nodes)}\r" in info

    def add_replica(self, of: Node) -> Node:
        """Add a replica of a node; return it when it has everything."""
        replica = self._add()
        self.nodes.append(replica)
        self._join(of)
        replica.ask("CLUSTER", "REPLICATE", of.id())
        # The masters vote for a replica that they know to be one.
        eventually(lambda: all(f" slave {of.id()} " in self._says_of(node, replica) for node in self.nodes))
        eventually(lambda: replica.ask("ROLE")[3] == "connected")
        return replica

    @staticmethod
    def _says_of(node: Node, other: Node) -> str:
        """Return what a node knows of another."""
        lines = node.ask("CLUSTER", "NODES").splitlines()
        found: str = next(line for line in lines if line.startswith(other.id()))
        return found.replace("myself,", "")

    def owner(self, slot: int) -> Node:
        """Return the node that holds a slot, when all agree on it."""

        def agreed() -> Node | None:
            said = {self._says(node, slot) for node in self.nodes}
            return next((node for node in self.nodes if said == {node.port}), None)

        owner: Node = eventually(agreed)
        return owner

    def migrate(self, slot: int, source: Node, target: Node) -> None:
        """Move a slot and its keys, in steps, as redis-cli does."""
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id())
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id())
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.nodes):
            # Replicas learn it from their masters.
            with suppress(RedisError):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id())

    @staticmethod
    def _says(node: Node, slot: int) -> int:
        rows = node.ask("CLUSTER", "SLOTS")
        return next((master[1] for first, last, master, *_ in rows if first <= slot <= last), 0)


@contextmanager
def clustered(directory: Path) -> Iterator[Clustered]:
    """A cluster."""
    with ExitStack() as stack:
        yield Clustered(directory, stack)
