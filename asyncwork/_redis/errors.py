"""Errors from Redis, by what a caller does about them.

The other packages take these names from here, so that this package alone depends on redis-py.
"""

from __future__ import annotations

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as ConnectionBroken
from redis.exceptions import NoScriptError as ScriptMissing
from redis.exceptions import ResponseError as ErrorReply

__all__ = [
    "REDIS_ERRORS",
    "ConnectionBroken",
    "ErrorReply",
    "RedisError",
    "ScriptMissing",
    "is_lasting",
    "is_out_of_connections",
    "is_out_of_memory",
    "is_temporary",
    "is_unsent",
    "is_wrong_type",
    "mark_unsent",
]

# Raised while Redis is away, busy or misconfigured. Any other exception is a defect.
REDIS_ERRORS = (RedisError, OSError)

# Such replies, unless redis-py raises them as a broken connection: those that have a class, from whose text redis-py
# removes the code, and the codes of the others.
_TEMPORARY_REPLIES = (AskError, ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
_TEMPORARY_CODES = frozenset({"BUSY", "MISCONF"})


def is_wrong_type(error: BaseException) -> bool:
    """Return whether Redis refused a command, or a command within a script, because a key holds another type."""
    return isinstance(error, ErrorReply) and "Operation against a key holding the wrong kind" in str(error)


def is_temporary(error: ErrorReply) -> bool:
    """Return whether Redis refused a command because of its own state, which passes, and not because of the user or the
    command.
    """
    return isinstance(error, _TEMPORARY_REPLIES) or str(error).partition(" ")[0] in _TEMPORARY_CODES


def is_lasting(error: BaseException) -> bool:
    """Return whether Redis refuses the password, the user or the command, so that it is no use to try again."""
    if isinstance(error, (AuthenticationError, AuthorizationError)):
        return True
    if isinstance(error, ConnectionBroken) and error.__cause__ is not None:
        # redis-py raises what Redis has refused while it connects as a broken connection.
        return is_lasting(error.__cause__)
    return isinstance(error, ErrorReply) and not is_temporary(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Redis refused a write because its data have reached ``maxmemory``."""
    return isinstance(error, OutOfMemoryError)


def is_out_of_connections(error: BaseException) -> bool:
    """Return whether Redis refused a connection because it has as many clients as ``maxclients`` allows."""
    return isinstance(error, ConnectionBroken) and "max number of clients" in str(error)


def mark_unsent(error: BaseException) -> None:
    """Note in the error of a request that nothing of the request was sent, so that Redis has executed nothing of it.

    The error must not be that of a request that was sent, too.
    """
    error.__dict__["asyncwork_unsent"] = True


def is_unsent(error: BaseException) -> bool:
    """Return whether nothing was sent of the request that failed with this error."""
    return "asyncwork_unsent" in error.__dict__
