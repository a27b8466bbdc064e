"""Measures the CPU time and commands that Redis spends, by its own counters."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any

# The text whose ECHO ends a monitor; no side sends it.
_END = "end of monitoring"


@dataclass(frozen=True, slots=True)
class Use:
    """The work of a Redis server.

    :ivar cpu: CPU seconds of its process.
    :ivar commands: number of commands that it ran, including those in scripts.
    :ivar reads: number of reads from connections. Each is a round trip, unless a request is larger than Redis's buffer.
    """

    cpu: float
    commands: int
    reads: int

    def __sub__(self, earlier: Use) -> Use:
        return Use(self.cpu - earlier.cpu, self.commands - earlier.commands, self.reads - earlier.reads)


def use(redis: Any) -> Use:
    """Return the work of a server since its start, without INFO commands."""
    info = redis.info("all")
    commands = {name: each["calls"] for name, each in info.items() if name.startswith("cmdstat_")}
    infos = commands.get("cmdstat_info", 0)
    return Use(
        float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
        sum(commands.values()) - infos,
        int(info["total_reads_processed"]) - infos,
    )


class CommandMonitor:
    """Counts commands with MONITOR. This slows Redis down, so nothing else is measured meanwhile.

    :ivar sent: number of commands that arrived over a connection.
    :ivar in_scripts: number of commands that scripts ran.
    """

    def __init__(self, redis: Any) -> None:
        self.sent = self.in_scripts = 0
        self._redis = redis
        self._monitor = redis.monitor()

    def __enter__(self) -> CommandMonitor:
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._count)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._redis.echo(_END)
        self._thread.join()
        self._monitor.__exit__(kind, error, traceback)

    def _count(self) -> None:
        for seen in self._monitor.listen():
            if _END in seen["command"]:
                return
            if seen["client_type"] == "lua":
                self.in_scripts += 1
            else:
                self.sent += 1
