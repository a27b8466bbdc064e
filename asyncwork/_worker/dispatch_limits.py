"""The limits of a dispatcher."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import PoolOptions

# Seconds after which a wait in Redis is begun anew, which shows that its connection is alive.
_BLOCK = 5.0


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Limits of a dispatcher; all times in seconds.

    :ivar concurrency: number of workers.
    :ivar look_ahead: whether to take more jobs than there are free workers, if they are short.
    :ivar pipelines: how many batches may be in flight at once.
    :ivar max_blocked: how many connections may wait in blocking pops at once.
    :ivar block: how long a blocking pop may wait in Redis; then it is sent again.
    :ivar stale_after: a reply that is older than this is revalidated with Redis before its jobs run, because the pool
        may have been considered dead meanwhile.
    :ivar longest_poll: the longest time between two polls of queues on which no pop blocks.
    :ivar reply_timeout: how long a reply may take until its connection is given up.
    """

    concurrency: int
    look_ahead: bool = False
    pipelines: int = 2
    max_blocked: int = 32
    block: float = 4.0
    stale_after: float = 8.0
    longest_poll: float = 1.0
    reply_timeout: float = 10.0

    @classmethod
    def of(cls, options: PoolOptions) -> DispatchLimits:
        """Return the limits of a pool with these options."""
        tuning = options.tuning
        # Seconds after any moment for which no other pool can consider this one dead.
        stale_after = options.dead_after - options.heartbeat
        return cls(
            concurrency=options.concurrency,
            look_ahead=options.ahead,
            pipelines=tuning.pipelines,
            max_blocked=tuning.max_blocking_connections,
            # The pops of a stopped process end before it is considered dead, so that none takes a job after that.
            block=min(_BLOCK, stale_after / 2),
            stale_after=stale_after,
            longest_poll=tuning.poll,
            reply_timeout=tuning.reply_timeout,
        )
