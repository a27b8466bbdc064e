"""A model of what a namespace promises to its users: plain Python lists, dicts and sets, and no Redis.

A list is as Redis holds it: pushed on the left, its last element the next to run; of jobs in progress, the last is the
one that was taken first. Locks are not kept here: they are whatever the lists say.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

# The queue of one pool: the job's name, the pool's id.
PoolQueue = tuple[str, str]


@dataclass(frozen=True)
class Held:
    """The contents of a unique key.

    :ivar newest: the newest job enqueued under it, where it was given a key map.
    :ivar waiting: the id of the waiting job that owns the key, and that runs with those arguments; empty if unknown.
    """

    newest: bytes | None = None
    waiting: str = ""

    @property
    def text(self) -> bytes:
        if self.newest is None:
            return f"waiting:{self.waiting}".encode() if self.waiting else b"1"
        return self.newest[:-1] + b',"waiting":"%b"}' % self.waiting.encode()


def fields(payload: bytes) -> dict[str, object]:
    """The fields of a job; none where the bytes are not a job."""
    try:
        found = json.loads(payload)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def unique_key(payload: bytes) -> str | None:
    """The key that a waiting job keeps: one that has failed was started, and let go of it then."""
    job = fields(payload)
    return str(job["unique_key"]) if job.get("unique") and not job.get("fails") else None


def remove_last(elements: list[bytes], element: bytes) -> None:
    """Remove the last of equal elements."""
    del elements[len(elements) - 1 - elements[::-1].index(element)]


class Model:
    """A namespace. Each method returns the reply that its script should give."""

    def __init__(self) -> None:
        self.queues: defaultdict[str, list[bytes]] = defaultdict(list)
        self.running: defaultdict[PoolQueue, list[bytes]] = defaultdict(list)
        # Taken by a blocking pop, and not admitted yet.
        self.popped: defaultdict[PoolQueue, Counter[bytes]] = defaultdict(Counter)
        # The length of a list of jobs in progress when a script last had to do with it.
        self.shares: Counter[PoolQueue] = Counter()
        # The lists whose share was set in the newest step.
        self.synced: set[PoolQueue] = set()
        self.job_sets: dict[str, dict[bytes, float]] = {"retry": {}, "scheduled": {}, "dead": {}}
        self.quarantine: list[bytes] = []
        self.paused: set[str] = set()
        self.caps: dict[str, int] = {}
        self.unique: dict[str, Held] = {}
        # How many jobs were not enqueued, by what became of them and their name.
        self.duplicates: Counter[str] = Counter()
        self.planned: dict[str, int] = {}
        self.fired: dict[str, int] = {}
        # By the key of a periodic job, the epoch seconds of its instances that were put on their queue.
        self.runs: defaultdict[str, set[int]] = defaultdict(set)
        # By the key of a periodic job that is paused.
        self.changes: dict[str, bytes] = {}
        self.beats: dict[str, int] = {}
        # Pools whose heartbeat says that they look ahead, and the pool that was last considered dead.
        self.ahead: set[str] = set()
        self.crashed: str | None = None
        self.crashes: Counter[str] = Counter()
        self.suspects: dict[str, str] = {}
        # By id of a job that is to be cancelled, the mark.
        self.cancels: dict[str, bytes] = {}
        self.recorded: dict[str, int] = {}
        # The jobs that were counted among the crashes when a pool was considered dead.
        self.counted: defaultdict[str, set[str]] = defaultdict(set)
        # Pools that have written a heartbeat since they were considered dead, and not claimed their jobs.
        self.reaped: set[str] = set()
        # By token: the location, and what was deleted from it.
        self.deleted: dict[str, tuple[str, list[tuple[bytes, float]]]] = {}
        # How many jobs with each payload were accepted and are not done. A set holds equal payloads once.
        self.accepted: Counter[bytes] = Counter()

    def held(self, name: str) -> int:
        """How many jobs of a name are accounted for, over all pools."""
        return sum(share for (of_name, _), share in self.shares.items() if of_name == name)

    def admitted(self, name: str) -> int:
        """How many jobs of a name may run now, over all pools."""
        at = [pool_queue for pool_queue in self.running if pool_queue[0] == name]
        return sum(len(self.running[pool_queue]) - self.popped[pool_queue].total() for pool_queue in at)

    def crashes_of(self, payload: bytes) -> int:
        """How many crashes are counted against a job; that number plus one, times -1, if it is to be cancelled."""
        count = self.crashes[hashlib.sha1(payload).hexdigest()]
        return -1 - count if fields(payload).get("id") in self.cancels else count

    def _sync_share(self, at: PoolQueue) -> None:
        self.synced.add(at)
        self.shares[at] = len(self.running[at])
        self.popped[at] &= Counter(self.running[at])

    def _add_to_set(self, job_set: str, payload: bytes, score: float) -> None:
        self.accepted[payload] += payload not in self.job_sets[job_set]
        self.job_sets[job_set][payload] = score

    # Coming in

    def enqueue(self, name: str, payload: bytes, *, front: bool = False) -> None:
        queue = self.queues[name]
        queue.insert(len(queue) if front else 0, payload)
        self.accepted[payload] += 1

    def schedule(self, payload: bytes, at: float) -> None:
        self._add_to_set("scheduled", payload, at)

    def hold(self, key: str, payload: bytes, *, by_key: bool) -> bool:
        """Take a unique key for a job; return whether it was free."""
        before = self.unique.get(key)
        waiting = str(fields(payload)["id"]) if before is None else before.waiting
        if before is None or by_key:
            self.unique[key] = Held(payload if by_key else None, waiting)
        return before is None

    def let_go(self, key: str, job_id: str) -> Held | None:
        """Free a unique key, but for one that is another job's; return what it held."""
        held = self.unique.get(key)
        if held is None or held.waiting not in ("", job_id):
            return None
        return self.unique.pop(key)

    # Taking

    def fetch(self, at: Sequence[PoolQueue], wanted: int, known: Mapping[str, int]) -> list[tuple[str, bytes]]:
        """Take jobs, each with its name.

        :param known: by name, how many were taken, for queues whose lock is wrong, so that the model cannot know.
        """
        taken = []
        for pool_queue in at:
            name = pool_queue[0]
            room = wanted
            if self.caps.get(name):
                room = min(room, self.caps[name] - self.held(name))
            room = min(known.get(name, room), len(self.queues[name]))
            payloads = [self.pop(pool_queue) for _ in range(0 if name in self.paused else room)]
            if payloads:
                taken += [(name, payload) for payload in payloads]
                wanted -= len(payloads)
                self._sync_share(pool_queue)
        return taken

    def pop(self, at: PoolQueue) -> bytes:
        payload = self.queues[at[0]].pop()
        self.running[at].insert(0, payload)
        return payload

    def pop_by_hand(self, at: PoolQueue) -> None:
        self.popped[at][self.pop(at)] += 1

    def may_admit(self, at: PoolQueue) -> bool:
        cap, others = self.caps.get(at[0]), self.held(at[0]) - self.shares[at]
        return at[0] not in self.paused and (not cap or others + len(self.running[at]) <= cap)

    def admit(self, at: PoolQueue, payload: bytes, *, admitted: bool) -> None:
        self.popped[at] -= Counter([payload])
        if not admitted:
            self.queues[at[0]].append(payload)
            self.running[at].remove(payload)
        self._sync_share(at)

    # Settling

    def ack(self, at: PoolQueue, payloads: Iterable[bytes]) -> int:
        ended = 0
        for payload in payloads:
            if self._end(at, payload):
                ended += 1
                self.cancels.pop(str(fields(payload).get("id", "")), None)
        return ended

    def finish(self, at: PoolQueue, payloads: Iterable[bytes], ids: Iterable[str]) -> int:
        ended = 0
        for payload, job_id in zip(payloads, ids, strict=True):
            if self._end(at, payload):
                ended += 1
                self.cancels.pop(job_id, None)
        return ended

    def _end(self, at: PoolQueue, payload: bytes) -> bool:
        """Take a job off those in progress: of equal ones, the one that was taken first."""
        running = self.running[at]
        if payload not in running:
            return False
        remove_last(running, payload)
        self.accepted[payload] -= 1
        self._sync_share(at)
        return True

    def move(self, at: PoolQueue, payload: bytes, job_set: str, score: int, kept: bytes) -> int:
        moved = self._end(at, payload)
        if moved:
            self._add_to_set(job_set, kept, score)
        return moved

    def requeue_front(self, at: PoolQueue, payloads: Iterable[bytes]) -> int:
        given, kept, moved = Counter(payloads), list[bytes](), list[bytes]()
        for payload in self.running[at]:
            (moved if given[payload] > 0 else kept).append(payload)
            given[payload] -= 1
        # The one that was taken first runs first.
        self.queues[at[0]] += moved
        self.running[at][:] = kept
        self._sync_share(at)
        return len(moved)

    def move_to_quarantine(self, at: PoolQueue, payload: bytes, record: bytes) -> int:
        if payload not in self.running[at]:
            return 0
        self.running[at].remove(payload)
        self.quarantine.insert(0, record)
        self.accepted[record] += 1
        self.accepted[payload] -= 1
        self._sync_share(at)
        return 1

    def free_unique(self, at: PoolQueue, payload: bytes, key: str, job_id: str) -> list[int | bytes]:
        if payload not in self.running[at]:
            return [0]
        held = self.let_go(key, job_id)
        if held is None or held.newest is None or fields(held.newest)["id"] == job_id:
            return [1]
        self.running[at].remove(payload)
        self.running[at].insert(0, held.text)
        self.accepted[payload] -= 1
        self.accepted[held.text] += 1
        if (mark := self.cancels.pop(job_id, None)) is not None:
            self.cancels.setdefault(str(fields(held.newest)["id"]), mark)
        return [1, held.text]

    # Background services

    def requeue(
        self, job_set: str, moves: Sequence[tuple[bytes, str | None, bytes]], firings: dict[bytes, tuple[str, int]]
    ) -> tuple[int, list[int]]:
        """Return how many jobs were moved, and the numbers of those that were deleted."""
        moved, paused = 0, []
        for number, (member, name, payload) in enumerate(moves):
            if (score := self.job_sets[job_set].pop(member, None)) is None:
                continue
            if member in firings and firings[member][0] in self.changes and firings[member][1] == score:
                self.accepted[member] -= 1
                paused.append(number)
                continue
            (self.quarantine if name is None else self.queues[name]).insert(0, payload)
            self.accepted[member] -= 1
            self.accepted[payload] += 1
            moved += 1
            if member in firings:
                job, at = firings[member]
                self.fired[job] = max(at, self.fired.get(job, 0))
                self.runs[job].add(at)
        return moved, paused

    def plan(self, job: str, instances: Iterable[tuple[int, bytes]]) -> int:
        added = 0
        for at, payload in instances:
            if at > self.planned.get(job, 0):
                self._add_to_set("scheduled", payload, at)
                self.planned[job] = at
                added += 1
        return added

    def change_periodic(self, job: str, change: bytes, instance: Callable[[int], bytes]) -> None:
        self.changes.pop(job, None)
        if change:
            self.changes[job] = change
        for at in range(self.planned.pop(job, 0) + 1):
            payload = instance(at)
            if self.job_sets["scheduled"].get(payload) == at:
                del self.job_sets["scheduled"][payload]
                self.accepted[payload] -= 1

    def lives(self, pool: str, beat: bytes | None) -> bool:
        """Whether a pool has written a heartbeat since the one by which it was considered dead; ``None`` for any."""
        return beat is not None and beat != self.beat_of(pool)

    def beat_of(self, pool: str) -> bytes:
        return b"%d" % self.beats[pool] if pool in self.beats else b""

    def reap(self, at: PoolQueue, limit: int) -> tuple[int, int]:
        running, moved = self.running[at], 0
        while running and moved < limit:
            self.queues[at[0]].append(running.pop(0))
            moved += 1
        self._sync_share(at)
        return moved, len(running)

    def begin_look_ahead(self, pool: str) -> bool:
        """Note that a pool looks ahead; return whether it may."""
        allowed = pool in self.beats and self.crashed is None
        if allowed:
            self.ahead.add(pool)
        return allowed

    def record_crash(self, pool: str, names: Iterable[str], step: int) -> None:
        if pool in self.ahead:
            return
        prints = [hashlib.sha1(payload).hexdigest() for name in names for payload in self.running[name, pool]]
        new = {each for each in prints if not self.crashes[each]}
        most = max((self.crashes[each] for each in prints), default=0)
        likeliest = {each for each in prints if self.crashes[each] == most}
        if (suspect := self.suspects.get(pool)) in prints:
            doubt = f"{suspect}:doubt"
            likeliest = {doubt if new and not self.crashes[doubt] else str(suspect)}
        counted = sorted(new | likeliest)
        for start in range(0, len(counted), step):
            if start + 1 > self.recorded.get(pool, 0):
                self.crashes.update(counted[start : start + step])
                self.counted[pool].update(counted[start : start + step])
                self.recorded[pool] = start + 1

    def beat(self, pool: str, at: int, *, again: bool) -> bool:
        """Write a heartbeat; return whether the pool was known, and not considered dead."""
        known = pool in self.beats and not self.counted[pool]
        self.crashes.subtract(self.counted[pool])
        if self.counted.pop(pool):
            self.recorded.pop(pool, None)
        self.beats[pool] = at
        if again and not known:
            self.reaped.add(pool)
        return known

    def claim(self, at: PoolQueue, payloads: Sequence[bytes], beat: int) -> list[int]:
        """Claim what a reaper has requeued; return the positions of the jobs that are not in progress then."""
        if at[1] in self.beats:
            self.beats[at[1]] = max(self.beats[at[1]], beat)
        reaped, missing = at[1] in self.reaped or at[1] not in self.beats, []
        for location, payload in enumerate(payloads, start=1):
            if payload in self.running[at]:
                continue
            if reaped and payload in self.queues[at[0]]:
                remove_last(self.queues[at[0]], payload)
                self.running[at].append(payload)
            else:
                missing.append(location)
        self._sync_share(at)
        return missing

    def end_claims(self, pool: str) -> None:
        self.reaped.discard(pool)

    def forget_pool(self, pool: str) -> None:
        self.reaped.discard(pool)
        self.ahead.discard(pool)
        for records in (self.beats, self.suspects, self.recorded):
            records.pop(pool, None)

    def cancel(self, job_ids: Iterable[str], mark: bytes) -> None:
        for job_id in job_ids:
            self.cancels.setdefault(job_id, mark)

    # Settings and deletions

    def delete(self, location: str, members: Iterable[tuple[bytes, int]], undo: str) -> int:
        """Delete members, each given with how many elements of a list are before it."""
        gone = 0
        for member, rank in members:
            score = self._drop(location, member, rank)
            if score is None:
                continue
            gone += 1
            self.accepted[member] -= 1
            if undo:
                self.deleted[undo][1].append((member, score))
            if key := unique_key(member):
                self.let_go(key, str(fields(member)["id"]))
        return gone

    def empty(self, name: str, undo: str) -> int:
        """Delete everything in a queue."""
        return self.delete(f"queue:{name}", [(payload, 0) for payload in list(self.queues[name])], undo)

    def drop_all(self, job_set: str) -> int:
        """Delete all jobs of a set, for good."""
        return self.delete(job_set, [(member, 0) for member in list(self.job_sets[job_set])], "")

    def _drop(self, location: str, member: bytes, rank: int) -> float | None:
        if location in self.job_sets:
            return self.job_sets[location].pop(member, None)
        elements = self.elements(location)
        if member not in elements:
            return None
        if 2 * rank < len(elements):
            elements.remove(member)
        else:
            remove_last(elements, member)
        return 0.0

    def elements(self, location: str) -> list[bytes]:
        return self.quarantine if location == "quarantine" else self.queues[location.removeprefix("queue:")]

    def restore(self, undo: str) -> int:
        location, kept = self.deleted[undo]
        self.deleted[undo] = (location, [])
        restored = 0
        for member, score in kept:
            if location not in self.job_sets:
                self.elements(location).append(member)
            elif member in self.job_sets[location]:
                continue
            else:
                self.job_sets[location][member] = score
            self.accepted[member] += 1
            restored += 1
        for member, _ in kept:
            if key := unique_key(member):
                self.unique.setdefault(key, Held(None, str(fields(member)["id"])))
        return restored

    def filled(self) -> list[str]:
        """The locations from which something can be deleted."""
        job_sets = [job_set for job_set, members in self.job_sets.items() if members]
        queues = [f"queue:{name}" for name, elements in self.queues.items() if elements]
        return [*job_sets, *queues, *(["quarantine"] if self.quarantine else [])]

    def may_forget(self, name: str) -> bool:
        return not self.queues[name] and not self.held(name)

    def forget_job(self, name: str) -> None:
        self.paused.discard(name)
        self.caps.pop(name, None)
        for pool_queue in self.shares:
            if pool_queue[0] == name:
                self.shares[pool_queue] = 0
