"""How fast asyncwork is, beside a sketch of its hot path alone: ``make bench``, or ``python -m benchmarks``."""
