"""The health and the metrics of processes that run jobs, and of namespaces, for orchestrators and for Prometheus."""
