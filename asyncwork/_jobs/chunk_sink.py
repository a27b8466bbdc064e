"""Where a job's chunks go: to its stream in Redis when a pool runs it."""

from __future__ import annotations

from typing import Protocol

from .._json.codec import encode_value
from ..errors import UsageError

# Bytes of the JSON of a chunk.
CHUNK_LIMIT = 1_048_576


class ChunkSink(Protocol):
    """Takes the chunks of one attempt of a job."""

    async def emit(self, chunk: object) -> None: ...


def encode_chunk(chunk: object) -> bytes:
    """Return a chunk as JSON.

    :raises ArgumentEncodingError: when JSON cannot hold it.
    :raises UsageError: when it is too long.
    """
    encoded = encode_value(chunk)
    if len(encoded) > CHUNK_LIMIT:
        raise UsageError(
            f"a chunk must have at most {CHUNK_LIMIT} bytes as JSON, not {len(encoded)}: emit it in several, or emit "
            "where it is stored"
        )
    return encoded
