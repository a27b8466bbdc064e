"""The tenant of a job: whose turn it takes in a fair queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ..errors import ArgumentEncodingError, UsageError
from .error_text import type_name_of
from .option_checks import check_chunk_fits
from .printable import printable, shown

logger = logging.getLogger("asyncwork")

# Bytes that the name of a tenant may have. It is part of a key in Redis.
LONGEST_TENANT = 200


def check_partition(partition: object, concurrency: int, most: int, *, ordered: bool, rated: bool) -> None:
    """Check the options of a job type about its tenants.

    :raises UsageError: when one is not valid, or they do not fit together.
    """
    if partition is None:
        given = {
            "partition_concurrency": concurrency,
            "partition_max": most,
            "partition_rate": rated,
            "ordered": ordered,
        }
        if names := [name for name, value in given.items() if value]:
            raise UsageError(
                f'{names[0]} is about tenants: say which argument names the tenant, as in partition="customer_id"'
            )
    elif not (isinstance(partition, str) and partition) and not callable(partition):
        raise UsageError(
            "partition must be the name of an argument, or a function that takes the arguments and returns the tenant, "
            f"not {shown(partition)}"
        )
    if ordered and concurrency not in (0, 1):
        raise UsageError(
            f"ordered jobs run one at a time for each tenant: leave partition_concurrency={concurrency} out, or ordered"
        )


def check_tenant_chunk(chunk: int, concurrency: int, *, ordered: bool) -> None:
    """Check that the options of tenants allow for chunks, each of jobs of one tenant.

    :param chunk: how many jobs one call takes; 0 for one job a call.
    :param concurrency: how many jobs of a tenant may run at once; 0 for any number.
    :raises UsageError: when no chunk could ever be full.
    """
    if not chunk:
        return
    if ordered:
        raise UsageError(
            "ordered jobs run one at a time for each tenant, so each chunk would have one job: leave chunk or ordered "
            "out"
        )
    check_chunk_fits(chunk, concurrency, "partition_concurrency")


def tenant_text(value: object, what: str) -> str:
    """Return the name of a tenant: text as it is, other values as JSON has them, and an empty text for none.

    :param what: what the message calls it.
    :raises UsageError: when it is an object or a list, UTF-8 cannot hold it, or it is longer than 200 bytes.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, (bool, int, float)):
        # Late, because commands that do not enqueue start without the codec.
        from .._json.codec import encode_args

        try:
            text = encode_args({"": value})[4:-1].decode()
        except ArgumentEncodingError as error:
            reason = str(error).partition(": ")[2]
            raise UsageError(f"{what} must name a tenant by text or a number: {reason}") from None
    else:
        raise UsageError(f"{what} must name a tenant by text or a number, not by {type_name_of(value)}: {shown(value)}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{what} must name a tenant by text that UTF-8 can hold: {shown(value)}") from None
    if size > LONGEST_TENANT:
        raise UsageError(
            f"{what} must name a tenant in {LONGEST_TENANT} bytes, not {size}: {shown(value)}; pass a digest of "
            "it as the partition"
        )
    return text


def tenant_or_none(
    name: str, partition: str | Callable[[Mapping[str, Any]], object], args: Mapping[str, Any] | None
) -> str:
    """Return the tenant of a new job; an empty text if the argument that names it is missing, which is logged once.

    :param name: the job's name, for messages.
    :param args: as they are stored.
    :raises UsageError: as :func:`tenant_text`; and when a function that returns the tenant fails.
    """
    if isinstance(partition, str):
        if not args or partition not in args:
            _report_missing(name, partition)
            return ""
        return tenant_text(args[partition], f"{name}: argument {partition!r}")
    try:
        value = partition(args or {})
    except Exception as error:
        raise UsageError(f"{name}: its partition could not be found: {type(error).__name__}: {error}") from error
    return tenant_text(value, f"{name}: its partition")


@cache
def _report_missing(name: str, partition: str) -> None:
    text = "jobs of %s without the argument %s share one tenant, which has no name"
    logger.warning(text, printable(name), printable(partition))
