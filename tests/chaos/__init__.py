"""Everything that can go wrong, at random, and then an account of every job.

``python -m tests.chaos`` runs worker processes and producers on one namespace while faults strike: workers are killed,
stopped and continued, Redis is restarted, full, read-only, busy or forgetful, connections break before a request, after
it and inside the reply, and the clock of a process jumps. Some of the jobs are hostile: they do to their pool whatever
user code can do. When all faults have ended and nothing moves any more, every job is accounted for.

The checks depend on no time and no number of jobs: a busy machine makes a run longer, and does not fail it.
"""
