"""Complete programs to read and run.

``demo``         a tour of ten seconds, with its own Redis: ``make demo``
``app``          a pool for ``asyncwork run examples.app:pool``
``enqueue``      a program that only enqueues, by name
``fastapi_app``  a FastAPI application that runs its own jobs
``aiohttp_app``  the same with aiohttp
"""
