"""The metrics of the processes that run jobs. Their names never begin with ``asyncwork_namespace_``."""

from __future__ import annotations

from .exposition import Exposition
from .histogram import BOUNDS, CHUNK_BOUNDS, WAIT_BOUNDS
from .report import ProcessReport


def process_metrics(report: ProcessReport) -> str:
    """Return the metrics of a report as text."""
    out = Exposition()
    out.metric("asyncwork_info", "gauge", "The version of asyncwork; always 1.")
    out.sample(1, version=report["version"])
    out.metric("asyncwork_start_time_seconds", "gauge", "When the pool was started, epoch seconds.")
    out.sample(report["started_at"])
    out.metric("asyncwork_processes", "gauge", "Processes, by the state of their pool.")
    for state, count in report["processes"].items():
        out.sample(count, state=state)
    out.metric("asyncwork_live", "gauge", "1 if /livez answers 200.")
    out.sample(report["health"]["live"])
    out.metric("asyncwork_ready", "gauge", "1 if /readyz answers 200.")
    out.sample(report["health"]["ready"])
    _jobs(out, report)
    out.metric("asyncwork_failures_total", "counter", "Failed attempts, by the class of the exception.")
    for kind, count in report["failures"].items():
        out.sample(count, kind=kind)
    out.metric("asyncwork_slots", "gauge", "Slots for jobs, by whether they have one.")
    out.sample(report["busy"], state="busy")
    out.sample(report["free"], state="free")
    out.metric("asyncwork_unbegun_jobs", "gauge", "Jobs taken ahead of the slots, because they are short.")
    out.sample(report["unbegun"])
    out.metric("asyncwork_results_pending", "gauge", "Results of jobs that Redis has not confirmed.")
    out.sample(report["pending"])
    _event_loop(out, report)
    if report["redis"] is not None:
        out.metric("asyncwork_redis_up", "gauge", "1 if Redis answers the heartbeats.")
        out.sample(report["redis"])
    out.metric("asyncwork_redis_reconnects_total", "counter", "Connections opened in place of ones that have failed.")
    out.sample(report["reconnects"])
    return out.text()


def _jobs(out: Exposition, report: ProcessReport) -> None:
    out.metric("asyncwork_jobs_total", "counter", "Attempts that ended, by name of the job and outcome.")
    for name, job in report["jobs"].items():
        for outcome, count in job["outcomes"].items():
            out.sample(count, job_name=name, outcome=outcome)
    out.metric("asyncwork_job_run_seconds", "histogram", "How long attempts took.")
    for name, job in report["jobs"].items():
        out.histogram(BOUNDS, job["run"]["counts"], job["run"]["sum"], job_name=name)
    out.metric("asyncwork_job_wait_seconds", "histogram", "How long jobs waited in their queue, in whole seconds.")
    for name, job in report["jobs"].items():
        out.histogram(WAIT_BOUNDS, job["wait"]["counts"], job["wait"]["sum"], job_name=name)
    if any(any(job["chunks"]["counts"]) for job in report["jobs"].values()):
        out.metric("asyncwork_chunk_jobs", "histogram", "How many jobs the calls had that took a chunk.")
        for name, job in report["jobs"].items():
            if any(job["chunks"]["counts"]):
                out.histogram(CHUNK_BOUNDS, job["chunks"]["counts"], job["chunks"]["sum"], job_name=name)
    if any(job["steps"] for job in report["jobs"].values()):
        out.metric("asyncwork_steps_total", "counter", "Recorded durable steps, by name of the job and kind.")
        for name, job in report["jobs"].items():
            for kind, count in job["steps"].items():
                out.sample(count, job_name=name, kind=kind)


def _event_loop(out: Exposition, report: ProcessReport) -> None:
    out.metric(
        "asyncwork_event_loop_lag_seconds", "histogram", "How long the event loop took to run a callback, sampled."
    )
    out.histogram(BOUNDS, report["lag"]["counts"], report["lag"]["sum"])
    out.metric("asyncwork_event_loop_blocked_seconds", "gauge", "For how long the event loop has been blocked, or 0.")
    out.sample(report["blocked"])
