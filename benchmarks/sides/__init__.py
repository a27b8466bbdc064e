"""Who takes part: one file a side, each with ``sending`` (its producer) and ``running`` (its worker).

All but ``asyncwork`` are without asyncwork: they run in environments that do not have it.
"""
