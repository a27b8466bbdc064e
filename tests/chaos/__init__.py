"""Everything that can go wrong, at random, and then an account of every job.

``python -m tests.chaos`` runs worker processes and producers on one namespace while faults strike: workers are killed,
stopped and continued, Redis is restarted, full, read-only, busy or forgetful, connections break before a request, after
it and inside the answer, the clock of a process jumps. Some of the jobs are hostile: they do to their pool whatever
user code can do. When all is healed and calm, every job is accounted for.

No time is a promise here, and no number: a machine that is busy makes a run longer, and not wrong.
"""
