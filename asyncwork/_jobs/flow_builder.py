"""Builds the plan of a flow from calls of jobs: which are valid, what each follows, and whose results it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..errors import UsageError
from ..models.flows import When
from .batch_options import check_members, short_text
from .enqueue_options import AT_ONCE
from .flow_nodes import Node, Nodes
from .flow_plan import FlowPlan, Span
from .job_call import JobCall
from .names import job_name
from .node_results import NodeResults, take_placeholders
from .printable import shown
from .rule_arguments import by_type


class FlowBuilder:
    """Collects the nodes that are to be added to one flow.

    :param first: the number of the first node. Nodes before it may be followed, too.
    """

    def __init__(self, flow_id: str, first: int = 0) -> None:
        self.flow_id = flow_id
        self.plan = FlowPlan(first)

    def add(
        self, jobs: Sequence[object], after: object, when: object, label: object
    ) -> tuple[Span, list[JobCall], list[bool]]:
        """Add a group of nodes; return their numbers, their jobs, and which of them follow no others.

        :param jobs: calls of tasks, and pairs of a name and arguments; at least one.
        :param after: the nodes that all of them follow.
        :raises UsageError: when one is not valid, or follows what is no node of this flow.
        """
        plan = self.plan
        spans = self._spans(after)
        checked_when, checked_label = check_when(when), short_text(label, "the label of a node")
        calls: list[JobCall] = []
        taken: list[list[range]] = []
        for position, job in enumerate(jobs):
            try:
                call, results = self._call(job)
            except UsageError as error:
                raise type(error)(f"node {position}: {error}" if len(jobs) > 1 else str(error)) from None
            calls.append(call)
            taken.append([each.numbers for each in results])
        check_members(calls)
        if checked_when is not When.SUCCESS and not spans and not all(taken):
            raise UsageError(f"when={checked_when.value!r} says how the nodes before it have to end: pass after=…, too")
        at = len(plan.roots)
        span = plan.add([each.name for each in calls], checked_label, checked_when, spans, taken)
        return span, calls, plan.roots[at:]

    def _call(self, job: object) -> tuple[JobCall, list[NodeResults]]:
        """Return a job as a call with plain arguments, and the results that it takes."""
        if isinstance(job, JobCall):
            name, args, options = job.name, job.args, job.options
        elif isinstance(job, tuple) and len(job) == 2:
            name, args = job
            if args is not None and not isinstance(args, Mapping):
                raise UsageError(f"args must be a mapping of argument names to values, or None, not {shown(args)}")
            options = AT_ONCE
            if not isinstance(name, str):
                args, options = by_type(name, args, AT_ONCE)
        else:
            raise UsageError(f"a node must be a task.call(…), or a pair (name, arguments), not {shown(job)}")
        if options.rule is not None or isinstance(options.unique, Mapping):
            raise UsageError(
                "a node of a flow cannot be unique, debounced or throttled, because another job would run in its "
                "place: pass task.options(unique=False).call(…), or make the flow unique"
            )
        if options.front:
            raise UsageError("a node runs when those before it have ended, and not before others: leave out front")
        if options.max_waiting:
            options = replace(options, max_waiting=None)
        plain, results = take_placeholders(args)
        for each in results:
            self._check(each.flow_id, each.numbers, "the result of a node")
        return JobCall(job_name(name), plain, options), results

    def _spans(self, after: object) -> list[Span]:
        if after is None:
            return []
        if isinstance(after, Node):
            spans = [Span(after.number, 1)]
            self._check(after.flow_id, range(after.number, after.number + 1), "after")
        elif isinstance(after, Nodes):
            spans = [Span(after.first, len(after))]
            self._check(after.flow_id, range(after.first, after.first + len(after)), "after")
        elif isinstance(after, Iterable) and not isinstance(after, (str, bytes, Mapping)):
            each_of = list(after)
            # Without the node that is missing there, this one would run too early.
            if None in each_of:
                raise UsageError("a list of what a node runs after must not have None in it: leave it out")
            spans = [span for each in each_of for span in self._spans(each)]
        else:
            raise UsageError(f"after must be what flow.add(…) has returned, or a list of such, not {shown(after)}")
        return spans

    def _check(self, flow_id: str, numbers: range, label: str) -> None:
        if flow_id != self.flow_id:
            raise UsageError(f"{label} is of flow {flow_id}: nodes follow those of their own flow, {self.flow_id}")
        if numbers.stop > self.plan.next:
            raise UsageError(f"{label}: flow {flow_id} has no node {numbers.stop - 1}")


def check_when(when: object) -> When:
    """Return when a node runs.

    :raises UsageError: when it is none of the three.
    """
    try:
        return When(when)  # type: ignore[arg-type]
    except ValueError:
        raise UsageError(f"when must be 'success', 'done' or 'failure', not {shown(when)}") from None
