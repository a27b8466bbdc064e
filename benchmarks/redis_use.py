"""What runs of jobs cost Redis, by its own accounts."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any

# The word that ends a watch; no side says it.
_END = "the watch is over"


@dataclass(frozen=True, slots=True)
class Use:
    """What Redis did.

    :ivar cpu: seconds of CPU of its process.
    :ivar commands: commands that it ran, those inside scripts too.
    :ivar reads: how often it read from a connection: a round trip, unless a request is larger than its buffer.
    """

    cpu: float
    commands: int
    reads: int

    def __sub__(self, earlier: Use) -> Use:
        return Use(self.cpu - earlier.cpu, self.commands - earlier.commands, self.reads - earlier.reads)


def use(redis: Any) -> Use:
    """Return what it has done since it was started, this question aside."""
    info = redis.info("all")
    commands = {name: each["calls"] for name, each in info.items() if name.startswith("cmdstat_")}
    asked = commands.get("cmdstat_info", 0)
    return Use(
        float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
        sum(commands.values()) - asked,
        int(info["total_reads_processed"]) - asked,
    )


class Watch:
    """Counts commands one by one, by MONITOR; that slows Redis down, so nothing else is measured meanwhile.

    :ivar asked: commands that came over a connection.
    :ivar inside: commands that scripts ran.
    """

    def __init__(self, redis: Any) -> None:
        self.asked = self.inside = 0
        self._redis = redis
        self._monitor = redis.monitor()

    def __enter__(self) -> Watch:
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
                self.inside += 1
            else:
                self.asked += 1
