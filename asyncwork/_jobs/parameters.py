"""Parameters of a handler that take the job's arguments by name, and how they are filled for each job."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentMismatchError
from ..job import Job
from .conversions import Converter, Encoder
from .mismatch import Mismatch, missing, names_of, wrong_type
from .names import suggestion

logger = logging.getLogger("asyncwork.job")

# Unknown argument names that are counted separately for one job name. There is a limit because producers choose them.
_MOST_UNKNOWN = 100
# Characters that are kept of such a name.
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that takes one of the job's arguments by name.

    :ivar convert: checks and converts the JSON value; ``None`` if any value will do.
    :ivar encode: makes a value of the annotation into a JSON value; ``None`` if it is one already.
    """

    name: str
    annotation: object
    convert: Converter | None
    encode: Encoder | None
    required: bool


class UnknownArguments:
    """Handles arguments that a handler does not take: ignores them with a warning, or fails the job.

    An unknown argument may be meant for a middleware, or for a newer version of the handler. Or its name is misspelled,
    and the handler would run with a default instead.

    :param name: the job's name.
    :param parameters: the names of the arguments that the handler takes.
    :param forbid: whether a job with an unknown argument fails.
    :ivar counts: how many jobs brought each unknown argument, by its name.
    """

    def __init__(self, name: str, parameters: Iterable[str], *, forbid: bool) -> None:
        self._name = name
        self._parameters = tuple(parameters)
        self._forbid = forbid
        self.counts: dict[str, int] = {}

    def found(self, job: Job, key: str) -> None:
        """Count an argument that the handler does not take, and log it the first time.

        :raises ArgumentMismatchError: when unknown arguments are forbidden.
        """
        key = key if len(key) <= _LONGEST_NAME else key[:_LONGEST_NAME] + "…"
        if self._forbid:
            raise permanent_error(self._message(key))
        counted = key if key in self.counts or len(self.counts) < _MOST_UNKNOWN else "…"
        count = self.counts[counted] = self.counts.get(counted, 0) + 1
        if count == 1:
            text = "ignored an argument (logged once for each name): %s"
            label = {"job_name": job.name, "job_id": job.id}
            logger.warning(text, self._message(key), extra=label)

    def found_all(self, job: Job) -> None:
        """Do the same for every argument of a job whose handler takes none.

        :raises ArgumentMismatchError: when unknown arguments are forbidden.
        """
        for key in job.args:
            self.found(job, key)

    def _message(self, key: str) -> str:
        takes = names_of(self._parameters, "no arguments") + suggestion(key, self._parameters)
        return f"argument {key!r} of {self._name} is unknown; it takes {takes}"


def fill_parameters(
    job: Job,
    *,
    parameters: Mapping[str, Parameter],
    rest: Parameter | None,
    reserved: frozenset[str],
    unknown: UnknownArguments,
) -> dict[str, Any]:
    """Return the keyword arguments that a handler is called with for a job, checked and converted.

    :param rest: the handler's ``**kwargs``; ``None`` if it has none.
    :param reserved: names that the handler cannot take by keyword.
    :raises ArgumentMismatchError: when an argument is missing, of the wrong type, or unknown and forbidden. The error
        is permanent, because another attempt would fail in the same way.
    """
    filled: dict[str, Any] = {}
    for key, value in job.args.items():
        parameter = parameters.get(key)
        if parameter is None:
            if rest is None:
                unknown.found(job, key)
                continue
            if key in reserved:
                raise permanent_error(reserved_name(key))
            parameter = rest
        if parameter.convert is None:
            filled[key] = value
        else:
            try:
                filled[key] = parameter.convert(value)
            except Mismatch as error:
                raise permanent_error(wrong_type(key, error)) from error.__cause__
            except RecursionError:
                raise permanent_error(f"argument {key!r} is nested deeper than the interpreter can follow") from None
    for key, parameter in parameters.items():
        if parameter.required and key not in filled:
            raise permanent_error(missing(key, parameter.annotation))
    return filled


def permanent_error(text: str) -> ArgumentMismatchError:
    """Return the error for arguments that no attempt can call this handler with."""
    error = ArgumentMismatchError(text)
    error.permanent = True
    return error


def reserved_name(key: str) -> str:
    """Return the message for an argument named like a leading parameter of its handler."""
    return (
        f"argument {key!r} cannot be passed: the handler's own parameter has that name; put a `/` after it, as in "
        f"`({key}: …, /, **kwargs)`, or give the argument another name"
    )
