"""The views of ``asyncwork top``: the list of queues, and one queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._jobs.location import queue_location
from ..client import Client
from ..models.job_record import JobRecord
from ..models.queues import JobCounts
from .queue_charts import sparkline
from .session import Session
from .snapshot import NO_QUEUES, QUEUE_COLUMNS, QueueRow, Snapshot, head_lines, pool_lines
from .table import Row, table
from .terminal import cells, fit, has_blocks, styled
from .times import age, brief

_MINUTES = 10
_WAITING = 10
_LIST_HELP = "q quit  arrows choose and sort  r reverse  enter details  p pause or unpause"
_DETAILS_HELP = "q quit  escape back  p pause or unpause"


@dataclass(frozen=True, slots=True)
class QueueDetails:
    """The details that are shown of one queue, beside its row.

    :ivar minutes: its counts in each minute of the last hour, the oldest first.
    :ivar waiting: the next jobs to run.
    """

    name: str
    minutes: Sequence[JobCounts]
    waiting: Sequence[JobRecord]


async def read_details(client: Client, name: str) -> QueueDetails:
    """Read the details of a queue.

    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    """
    minutes = await client.minutes(60, queue=name)
    waiting = await client.jobs(queue_location(name), per_page=_WAITING)
    return QueueDetails(name, minutes, waiting.jobs)


class View:
    """The user's choice of what to show of a namespace, and the lines that show it.

    :ivar opened: the name of the queue whose details are shown; empty for the list.
    :ivar message: what the last key has done.
    :ivar problem: why the namespace cannot be read; empty if it can.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._snapshot: Snapshot | None = None
        self._details: QueueDetails | None = None
        self._chosen = ""
        self._sorted_by = 1
        self._reverse = True
        self._first = 0
        self.opened: str = ""
        self.message = ""
        self.problem = ""

    @property
    def at(self) -> float:
        """The time of the last reading, epoch seconds."""
        return self._snapshot.at if self._snapshot else 0.0

    def show(self, snapshot: Snapshot, details: QueueDetails | None = None) -> None:
        """Show a newer reading."""
        self._snapshot, self._details = snapshot, details
        if not self._chosen and (rows := self._rows()):
            self._chosen = rows[0].queue.name

    @property
    def chosen(self) -> QueueRow | None:
        """The chosen queue, or the one whose details are shown."""
        name = self.opened or self._chosen
        return next((row for row in self._rows() if row.queue.name == name), None)

    def _rows(self) -> list[QueueRow]:
        if self._snapshot is None:
            return []
        # By name where the values are equal, so that rows do not jump.
        by_name = sorted(self._snapshot.queues, key=lambda row: row.queue.name)
        return sorted(by_name, key=QUEUE_COLUMNS[self._sorted_by][2], reverse=self._reverse)

    def on_key(self, key: str) -> None:
        """Change what is shown."""
        match key:
            case "up" | "down" if not self.opened:
                self._choose(-1 if key == "up" else 1)
            case "left" | "right" if not self.opened:
                self._sorted_by = (self._sorted_by + (1 if key == "right" else -1)) % len(QUEUE_COLUMNS)
                # The largest numbers first, and texts in their order.
                self._reverse = QUEUE_COLUMNS[self._sorted_by][0].right
            case "r" if not self.opened:
                self._reverse = not self._reverse
            case "enter" if not self.opened and self.chosen:
                self.opened, self._details = self._chosen, None
            case "escape":
                self.opened = ""

    def _choose(self, step: int) -> None:
        names = [row.queue.name for row in self._rows()]
        if names:
            at = names.index(self._chosen) + step if self._chosen in names else 0
            self._chosen = names[max(0, min(at, len(names) - 1))]

    def lines(self, columns: int, height: int) -> list[str]:
        """Return the lines of the screen."""
        snapshot, session = self._snapshot, self._session
        if snapshot is None:
            return []
        self._session.width = columns
        head = [*head_lines(session, snapshot, columns)]
        if problems := len(snapshot.overview.problems):
            worst = fit(f"{problems} problem{'s' * (problems > 1)}: {snapshot.overview.problems[0].text}", columns)
            head.append(session.styled(worst, "red"))
        head.append("")
        foot = [self._foot(columns)]
        space = max(0, height - len(head) - len(foot))
        body = [*self._opened_lines(columns)] if self.opened else self._list_lines(columns, space)
        return [*head, *(body + [""] * space)[:space], *foot]

    def _foot(self, columns: int) -> str:
        said = self.message or self.problem
        text = fit(said or (_DETAILS_HELP if self.opened else _LIST_HELP), columns)
        return self._session.styled(text, "yellow" if said else "dim")

    def _list_lines(self, columns: int, space: int) -> list[str]:
        rows = self._rows()
        if not rows:
            return [NO_QUEUES]
        names = [row.queue.name for row in rows]
        at = names.index(self._chosen) if self._chosen in names else 0
        # The chosen row stays on the screen.
        visible = max(1, space - 1)
        self._first = max(0, min(max(self._first, at - visible + 1), at, len(rows) - visible))
        return self._table(columns, rows, at)[:space]

    def _table(self, columns: int, rows: Sequence[QueueRow], at: int) -> list[str]:
        titles = [
            column._replace(title=f"{column.title}{'v' if self._reverse else '^'}")
            if number == self._sorted_by
            else column
            for number, (column, _, _) in enumerate(QUEUE_COLUMNS)
        ]
        shown = [Row([text(row) for _, text, _ in QUEUE_COLUMNS]) for row in rows]
        title, *lines = table(titles, shown, columns)
        colors = self._session.colors
        marked = [styled(title, "bold", colors=colors)]
        for number, line in enumerate(lines[self._first :], self._first):
            marked.append(self._marked(line, chosen=number == at, row=rows[number], columns=columns))
        return marked

    def _marked(self, line: str, *, chosen: bool, row: QueueRow, columns: int) -> str:
        if chosen:
            # Without colors too, because nothing else shows what is chosen.
            return styled(line + " " * (columns - cells(line)), "reverse", colors=True)
        return styled(line, "yellow" if row.state else "", colors=self._session.colors)

    def _opened_lines(self, columns: int) -> Iterator[str]:
        snapshot, session = self._snapshot, self._session
        row = self.chosen
        if snapshot is None or row is None:
            yield fit(f"queue {self.opened} is gone", columns)
            return
        titles, texts = [column for column, _, _ in QUEUE_COLUMNS], [text(row) for _, text, _ in QUEUE_COLUMNS]
        yield from table(titles, [Row(texts)], columns, colors=session.colors)
        if self._details is not None and self._details.name == self.opened:
            yield fit(_counts_text(self._details.minutes[-_MINUTES:]), columns)
            ended = [each.processed for each in self._details.minutes]
            if has_blocks() and any(ended):
                yield fit(f"per minute, for an hour: {sparkline(ended)}", columns)
        serving = [pool for pool in snapshot.overview.heartbeats if self.opened in pool.job_names]
        yield ""
        yield from pool_lines(session, snapshot, serving) if serving else ["no pool serves it"]
        running = [each for each in snapshot.observations if each.job_name == self.opened]
        if running:
            yield ""
            yield session.styled("RUNNING", "bold")
        for each in running:
            text = str(each.progress or each.checkin) or each.args.decode(errors="replace")
            yield fit(f"{each.job_id}  {brief(max(0, round(snapshot.at - each.started_at)))}  {text}", columns)
        if self._details is not None and self._details.waiting:
            yield ""
            yield session.styled("WAITING", "bold")
            for job in self._details.waiting:
                enqueued = age(job.enqueued_at, snapshot.at) if job.enqueued_at else "-"
                yield fit(f"{job.id or '-'}  {enqueued}  {job.reason or job.args.decode()}", columns)


def _counts_text(minutes: Sequence[JobCounts]) -> str:
    processed, failed = (sum(getattr(each, name) for each in minutes) for name in ("processed", "failed"))
    run, wait = (sum(getattr(each, name) for each in minutes) / 1000 for name in ("run_ms", "wait_ms"))
    means = f", {brief(run / processed)} running, {brief(wait / processed)} waiting on average" if processed else ""
    return f"last {_MINUTES} minutes: {processed:,} processed, {failed:,} failed{means}"
