"""A pool without jobs, of an application that sets up logging as Django does."""

import logging.config

from asyncwork import WorkerPool

first = second = WorkerPool()

logging.config.dictConfig({"version": 1, "loggers": {"shop": {"level": "INFO"}}})
