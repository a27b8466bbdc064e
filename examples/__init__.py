"""Complete programs to read and run.

``demo``         a tour of ten seconds, with its own Redis: ``make demo``
``app``          a pool for ``asyncwork run examples.app:pool``
``enqueue``      a program that only enqueues, by name
``shop``         a complete FastAPI application that runs its own jobs, with its tests
``shop_aiohttp`` the same with aiohttp
``flask_app``    a Flask application that enqueues
``order_steps``  orders with a payment, an approval and e-mails, as durable steps
``stream_app``   a FastAPI application that streams what a job emits
``event_source`` what a job emits, as the response to an ``EventSource`` of a browser
``import_rows``  an import of 10,000 rows as a flow: split, load in chunks, report, and undo on a failure
``llm_agent``    an agent of a language model: durable turns, a shared limit, and a stream to the browser
"""
