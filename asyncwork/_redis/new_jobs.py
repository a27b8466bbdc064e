"""New jobs: what callers give, checked and encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from .._jobs.enqueue_options import AT_ONCE, EnqueueOptions
from .._jobs.hold import digest_of
from .._jobs.ids import make_identifiers
from .._jobs.job_call import JobCall, check_jobs
from .._jobs.names import job_name, limit_of
from .._jobs.payload import encode_job, with_trace
from .._jobs.printable import shown
from .._jobs.rule_arguments import by_type, options_of, values_of
from .._jobs.tracing import JobTracing
from .._json.codec import encode_args
from ..errors import UsageError
from ..models.enqueued_job import EnqueuedJob, ResultSource, set_source
from ..unique import Unique
from .encoded_jobs import EncodedJobs
from .keys import Keys
from .payload_frame import PayloadFrame
from .placement import NEXT, Placement
from .protocol import pack, unpack


class NewJobs(EncodedJobs):
    """Jobs that are about to be written, in their order.

    :param now: epoch seconds.
    """

    def __init__(self, keys: Keys, now: int) -> None:
        super().__init__(keys)
        self._now = now
        # By position, the tasks of jobs that are calls.
        self._tasks: dict[int, ResultSource] = {}

    def add(self, name: object, args: Mapping[str, Any] | None, options: EnqueueOptions, random_id: str = "") -> None:
        """Add a job.

        :param name: its name, or its task.
        :param random_id: its id if the options have none; empty for a new one.
        :raises UsageError: when the name, the arguments or the time are not valid.
        :raises ArgumentEncodingError: when JSON cannot hold the arguments.
        """
        args = check_args(args)
        if type(name) is not str:
            args, options = by_type(name, args, options)
        name = job_name(name)
        if options is AT_ONCE:
            self.append(*encode_job(name, args, self._now, job_id=random_id))
            return
        if options.max_waiting:
            self._limits[name] = options.max_waiting
        placement = self._placement(name, args, options)
        assert not isinstance(options.timeout, timedelta)
        job, payload = encode_job(
            name,
            args,
            self._now,
            job_id=options.id or random_id,
            run_at=placement.run_at,
            unique_key=placement.unique_key,
            timeout=options.timeout,
            expires=options.expires_at(self._now),
            hold=placement.hold,
            tenant=options.partition,
            cost=options.cost,
        )
        self.append(job, payload, None if placement == NEXT else placement)

    def truncate(self, count: int) -> None:
        """Keep only the first jobs."""
        for position in range(count, len(self.jobs)):
            self._tasks.pop(position, None)
        super().truncate(count)

    def add_all(
        self, jobs: Iterable[object], ids: Iterator[str] | None = None, label: str | None = None, first: int = 0
    ) -> None:
        """Add jobs that are pairs of a name and arguments, or calls of tasks.

        :param ids: their ids; ``None`` for new ones.
        :param label: what messages about a job begin with; ``None`` for its position.
        :param first: the position of the first of them.
        :raises UsageError, ArgumentEncodingError: as :meth:`add`; the message says for which job. Also when ``jobs``
            cannot be iterated over.
        """
        check_jobs(jobs)
        now, frames, start = self._now, dict[str, PayloadFrame](), len(self.jobs) - first
        append_job, append_packed = self.jobs.append, self._packed.append
        for given, random_id in zip(jobs, make_identifiers() if ids is None else ids, strict=False):
            try:
                if type(given) is tuple and len(given) == 2:
                    name, args = given
                elif isinstance(given, JobCall):
                    if (task := getattr(given, "_task", None)) is not None:
                        self._tasks[len(self.jobs)] = task
                    if given.options is not AT_ONCE:
                        self.add(given.name, given.args, given.options, random_id)
                        continue
                    name, args = given.name, given.args
                else:
                    text = f"it must be a pair (name, arguments) or a task.call(…), not {shown(given)}"
                    raise UsageError(text)
                # As in `add`, without the calls that a plain job does not need: there may be a million of them.
                if type(name) is not str:
                    if (limit := limit_of(name)) is not None:
                        self._limits[job_name(name)] = limit
                    if options_of(name) is not AT_ONCE:
                        self.add(name, args, AT_ONCE, random_id)
                        continue
                    name = job_name(name)
                if name not in frames:
                    frames[name] = PayloadFrame.of(job_name(name), now)
                size, before, between, after = frames[name]
                encoded = encode_args(args if type(args) is dict else check_args(args))
                append_packed(
                    b"$%d%b%b%b%b%b"
                    % (size + len(random_id) + len(encoded), before, random_id.encode(), between, encoded, after)
                )
                append_job(EnqueuedJob(name, random_id, args, now, now))
            except UsageError as error:
                which = f"job {len(self.jobs) - start}: " if label is None else label
                raise type(error)(f"{which}{error}") from None

    def _placement(self, name: str, args: Mapping[str, Any] | None, options: EnqueueOptions) -> Placement:
        tenant = None if options.partition is None else str(options.partition)
        placement = Placement(
            options.run_at(self._now), "", False, options.front, options.id is not None, tenant=tenant
        )
        if isinstance(options.unique, Mapping):
            key = self._keys.unique_for(name, dict(options.unique), "unique")
            return placement._replace(unique_key=key, by_key=True)
        if (rule := options.rule) is None:
            return placement
        values = values_of(rule, name, args)
        plain = None if values is None else dict(values)
        if not isinstance(rule, Unique) or rule.until != "start":
            return placement._replace(rule=rule, digest=digest_of(plain))
        # gocraft/work's own uniqueness.
        key, by_key = self._keys.unique_for(name, plain), rule.conflict == "replace"
        return placement._replace(unique_key=key, by_key=by_key, conflicts=rule.conflict == "raise")

    @contextmanager
    def traced(self, tracing: JobTracing | None, namespace: str) -> Iterator[None]:
        """Trace the block that writes the jobs, and write its trace into their payloads; nothing if it is ``None``."""
        if tracing is None or not self.jobs:
            yield
            return
        with tracing.enqueueing(namespace, self.jobs) as traceparent:
            if traceparent:
                self._packed = [pack(with_trace(unpack(packed), traceparent)) for packed in self._packed]
            yield

    def set_sources(self) -> None:
        """Let the jobs of tasks wait for their results."""
        for position, task in self._tasks.items():
            set_source(self.jobs[position], task)


def check_args(args: Any) -> Mapping[str, Any] | None:
    """Return a job's arguments.

    :raises UsageError: when they are neither a mapping nor ``None``.
    """
    if args is not None and not isinstance(args, Mapping):
        raise UsageError(f"args must be a mapping of argument names to values, or None, not {type(args).__name__}")
    return args
