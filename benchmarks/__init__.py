"""Benchmarks of asyncwork, its bare hot path and other queues: ``make bench``, or ``python -m benchmarks``."""
