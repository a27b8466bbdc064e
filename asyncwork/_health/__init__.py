"""The health and the metrics of processes that run jobs, and of namespaces, for orchestrators and for Prometheus.

``report`` defines what a process reports, ``server`` serves a report, and ``summing`` adds those of several processes.
A process that supervises others has each of them send its report, and passes a ``ReportSum`` of these to the server.
"""
