"""The sides: one module each, with ``sending`` (its producer) and ``running`` (its worker).

Only the module ``asyncwork`` imports asyncwork, because the environments of the other sides do not contain it.
"""
