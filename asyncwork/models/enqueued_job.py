"""A job that was enqueued, as enqueuers return it, and what waits for its result."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, overload

from ..errors import UsageError

if TYPE_CHECKING:
    # So that `EnqueuedJob` alone is a type, too. At run time, only Python 3.13 and later has defaults.
    from typing_extensions import TypeVar as TypeVarWithDefault

    R_co = TypeVarWithDefault("R_co", covariant=True, default=Any)
else:
    R_co = TypeVar("R_co", covariant=True)

V = TypeVar("V")


class ResultSource(Protocol):
    """Waits for the results of jobs that it has enqueued."""

    async def _wait_for_result(self, job: EnqueuedJob[Any], timeout: float | timedelta | None) -> Any: ...


class KnownEnd(NamedTuple):
    """How a job has ended, which its handle remembers once it was waited for.

    :ivar source: what has waited for it; ``None`` if that was a blocking call.
    :ivar record: the fields of the job's record.
    """

    source: ResultSource | None
    record: Mapping[bytes, bytes]


class _WithSource:
    """Has what waits for the result of a job. It is no field, so it is neither compared nor shown nor pickled."""

    __slots__ = ("_source",)

    # In one slot, so that only the handles of jobs that were waited for take more memory.
    _source: ResultSource | KnownEnd


@dataclass(frozen=True, slots=True, init=False)
class EnqueuedJob(_WithSource, Generic[R_co]):
    """A job that was enqueued, or a duplicate of a unique job that waits already.

    For a duplicate, only ``id`` is about the job that waits. The other fields are those of the job that was not
    enqueued: ``run_at`` does not say when the one that waits is due.

    :ivar name: the job's name.
    :ivar id: its id, 24 hex digits unless an id was passed. For a duplicate, the id of the job that waits; empty if
        another program has enqueued that one.
    :ivar args: its arguments, or ``None`` when it has none.
    :ivar enqueued_at: when it was enqueued, epoch seconds.
    :ivar run_at: when it is due, epoch seconds; equal to ``enqueued_at`` when it may run at once.
    :ivar unique: whether it is unique: then it holds a key until a worker starts it.
    """

    name: str
    id: str
    args: Mapping[str, Any] | None = field(repr=False)
    enqueued_at: int
    run_at: int
    unique: bool = False

    # One is created for each enqueued job, and the `__init__` of a frozen dataclass takes twice as long.
    def __init__(
        self,
        name: str,
        id: str,  # noqa: A002
        args: Mapping[str, Any] | None,
        enqueued_at: int,
        run_at: int,
        unique: bool = False,
    ) -> None:
        _set_name(self, name)
        _set_id(self, id)
        _set_args(self, args)
        _set_enqueued_at(self, enqueued_at)
        _set_run_at(self, run_at)
        _set_unique(self, unique)

    # Not a field, because setting one costs each of a million jobs that are enqueued in bulk.
    @property
    def duplicate(self) -> bool:
        """Whether nothing was enqueued, because a job with the same unique key, or an equal one, waits."""
        return False

    @property
    def replaced(self) -> bool:
        """Whether the job that waits, and whose id this is, has these arguments now, instead of its own."""
        return False

    @overload
    async def result(self: EnqueuedJob[Coroutine[Any, Any, V]], timeout: float | timedelta | None = None) -> V: ...
    @overload
    async def result(self: EnqueuedJob[V], timeout: float | timedelta | None = None) -> V: ...
    async def result(self, timeout: float | timedelta | None = None) -> Any:
        """Wait until the job has ended; return what its handler returned, of the type that it is annotated with.

        It does not poll. While Redis is away it goes on waiting. For a job that was enqueued by name alone, the result
        is as JSON has it. A second call returns or raises the same, also when the result is not kept any more; but a
        job that was dead or deleted, and was then retried or restored, is waited for again.

        :param timeout: seconds, or a ``timedelta``; ``None`` waits as long as it takes. The job itself goes on.
        :raises JobFailed, JobCancelled, JobExpired: when the job has ended without a result.
        :raises ResultLost: when its result was not kept, because it is no JSON or has more than 1 MiB.
        :raises ResultTimeout: when it has not ended in time. It is a ``TimeoutError`` too.
        :raises RedisUnavailable: when Redis refuses the user or the password.
        :raises UsageError: when the results of its type are not kept; the message says how to keep them.
        """
        source: ResultSource | KnownEnd | None = getattr(self, "_source", None)
        if isinstance(source, KnownEnd):
            source = source.source
        if source is None:
            raise UsageError(
                f"this {self.name!r} job has no connection, such as after it was pickled: pass its id to "
                "Client.result(id)"
            )
        return await source._wait_for_result(self, timeout)


_set_name, _set_id, _set_args, _set_enqueued_at, _set_run_at, _set_unique = (
    getattr(EnqueuedJob, each.name).__set__ for each in fields(EnqueuedJob)
)


set_source: Callable[[EnqueuedJob[Any], ResultSource | KnownEnd], None] = vars(_WithSource)["_source"].__set__


class DuplicateJob(EnqueuedJob[R_co]):
    """A job that was not enqueued, because it would be a duplicate. Its id is that of the job that waits."""

    __slots__ = ()

    def __repr__(self) -> str:
        # With the name of the class that users can import.
        shown = "".join(f"{each.name}={getattr(self, each.name)!r}, " for each in fields(self) if each.repr)
        return f"{EnqueuedJob.__name__}({shown}duplicate=True{', replaced=True' if self.replaced else ''})"

    @property
    def duplicate(self) -> bool:
        """Whether nothing was enqueued, because a job with the same unique key, or an equal one, waits."""
        return True


class ReplacingJob(DuplicateJob[R_co]):
    """A job that was not enqueued, because the job that waits, and whose id it has, runs with its arguments."""

    __slots__ = ()

    @property
    def replaced(self) -> bool:
        """Whether the job that waits, and whose id this is, has these arguments now, instead of its own."""
        return True
