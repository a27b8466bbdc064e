"""``asyncwork completion``: completes commands, options, locations, and the names of queues and periodic jobs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import AsyncworkError, UsageError
from . import streams
from .parser import make_parser
from .usage.jobs import LOCATIONS

if TYPE_CHECKING:
    from ..client import Client

# Seconds for which Redis is read.
_TIMEOUT = 1.0
# Names that mean nothing else to a shell. Others are not offered, because a shell would run what is written in them.
_HARMLESS = re.compile(r"[\w%+,./@^{}-]+", re.ASCII)
# The kind of value that an option or an argument takes, by command and name.
_TAKES = {
    ("enqueue", "job"): "queue",
    ("jobs", "location"): "location",
    ("jobs", "name"): "queue",
    ("queues", "names"): "queue",
    ("unique", "words"): "queue",
    ("periodic", "keys"): "periodic",
}

_BASH = """\
_asyncwork() {
    local line="${COMP_LINE:0:COMP_POINT}" words current prefix="" reply
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current="${words[${#words[@]}-1]}"
    # bash replaces only what follows a colon.
    [[ $current == *:* && $COMP_WORDBREAKS == *:* ]] && prefix="${current%"${current##*:}"}"
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("${reply#"$prefix"}")
    done < <("${words[0]}" completion --words "${words[@]}" 2>/dev/null)
    # The name of a queue follows.
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _asyncwork asyncwork
"""

_ZSH = """\
#compdef asyncwork
_asyncwork() {
    local -a found
    found=("${(@f)$("${words[1]}" completion --words "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ ${#found} -eq 1 && ${found[1]} == *: ]]; then
        compadd -S '' -- "${found[@]}"
    elif [[ -n ${found[1]} ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
compdef _asyncwork asyncwork
"""

_FISH = """\
function __asyncwork_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] completion --words $words 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c asyncwork -f -a '(__asyncwork_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when no shell is named.
    :raises OutputError: when standard output cannot be written.
    """
    if options.words is not None:
        if found := list(complete(options.words[1:])):
            streams.print_result("\n".join(found), "completions were found")
        return 0
    if options.shell is None:
        raise UsageError(f"name a shell: {', '.join(_SCRIPTS)}")
    streams.print_result(_SCRIPTS[options.shell].rstrip("\n"), "the script is written")
    return 0


def complete(words: Sequence[str]) -> Iterator[str]:
    """Yield the words that may stand where the last word is.

    :param words: the words after the program's name up to the cursor. The last one may be empty, or incomplete.
    """
    if not words:
        return
    *before, current = words
    parser, command, given, taking = make_parser()[0], "", 0, None
    targets: dict[str, str | None] = {"redis": None, "namespace": None}
    for word in before:
        name, equals, value = word.partition("=")
        option = _options(parser).get(name) if word.startswith("-") else None
        if taking is not None:
            targets[taking.dest] = word
            taking = None
        elif option is not None and equals:
            targets[option.dest] = value
        elif option is not None:
            taking = option if option.nargs is None else None
        elif (inner := _commands(parser).get(word)) is not None:
            parser, command, given = inner, command or word, 0
        else:
            given += not word.startswith("-")
    for each in _candidates(parser, command, given, taking, current, targets):
        if each.startswith(current):
            yield each


def _candidates(
    parser: argparse.ArgumentParser,
    command: str,
    given: int,
    taking: argparse.Action | None,
    current: str,
    targets: dict[str, str | None],
) -> Iterator[str]:
    """Yield all words that may stand at the cursor, whatever is written there.

    :param command: the command.
    :param given: how many arguments come before the cursor.
    :param taking: the option whose value stands at the cursor; ``None`` if none does.
    """
    if taking is None and current.startswith("-"):
        shown = (name for name, option in _options(parser).items() if option.help != argparse.SUPPRESS)
        yield from sorted(shown)
        return
    action = taking or _argument(parser, given)
    if action is None:
        return
    if action.choices is not None:
        yield from map(str, action.choices)
        return
    takes = _TAKES.get((command, action.dest))
    if takes == "location" and not current.startswith("queue:"):
        yield from (*LOCATIONS, "queue:")
        return
    if takes == "periodic":
        yield from _names(targets, _periodic_names)
    elif takes is not None:
        prefix = "queue:" if takes == "location" else ""
        yield from (prefix + name for name in _names(targets, _queue_names))


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return parser._option_string_actions


def _argument(parser: argparse.ArgumentParser, given: int) -> argparse.Action | None:
    """Return the argument that stands after so many others."""
    arguments = [action for action in parser._actions if not action.option_strings]
    if given < len(arguments):
        return arguments[given]
    return arguments[-1] if arguments and arguments[-1].nargs == "*" else None


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


async def _queue_names(client: Client) -> Iterable[str]:
    return [queue.name for queue in await client.queues()]


async def _periodic_names(client: Client) -> Iterable[str]:
    # Keys have blanks, so that they are not offered.
    return dict.fromkeys(each.name for each in await client.periodic_jobs())


def _names(targets: dict[str, str | None], read: Callable[[Client], Awaitable[Iterable[str]]]) -> list[str]:
    """Return names that a shell takes as they are; none if Redis does not answer soon."""
    # Only here, because they take longer to import than most completions take.
    import asyncio

    from ..client import Client
    from . import settings

    async def names() -> Iterable[str]:
        url, namespace = settings.redis_options(argparse.Namespace(command="completion", **targets))
        async with asyncio.timeout(_TIMEOUT), Client(url, namespace=namespace) as client:
            return await read(client)

    try:
        return [name for name in asyncio.run(names()) if _HARMLESS.fullmatch(name)]
    except (AsyncworkError, OSError, TimeoutError):
        return []
