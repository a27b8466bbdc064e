"""Programs to read and run, each complete.

``demo``         everything in ten seconds, on a Redis of its own: ``make demo``
``app``          a pool, run by ``asyncwork run examples.app:pool``
``enqueue``      a program that only enqueues, by name
``fastapi_app``  a FastAPI application that runs its jobs itself
``aiohttp_app``  the same with aiohttp
"""
