"""Make the roles in docstrings, such as ``:class:`Job```, links of the API reference."""

from __future__ import annotations

import functools
import re
from typing import Any

import griffe

# Such as `:raises UsageError, JobFailed:`, up to the next field or empty line.
_SHARED = re.compile(r"^( *):(raises|param) (\w+(?:, \w+)+): *((?:.*\n?)(?:(?! *:\w| *\n).+\n?)*)", re.MULTILINE)
# Such as :class:`Job` or :meth:`Client.cancel`.
_ROLE = re.compile(r":(?:class|meth|func|attr|exc|data|mod|ref):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Replaces each role by a link to what it names, if the reference has that."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite the docstrings of a package, when all of its modules are read."""
        public = {name: member for name, member in pkg.members.items() if member.is_alias or member.is_exported}
        for module in _all(pkg):
            if module.docstring is not None:
                text = _SHARED.sub(_split, module.docstring.value)
                module.docstring.value = _ROLE.sub(functools.partial(_linked, item=module, public=public), text)


def _all(item: griffe.Object | griffe.Alias) -> list[griffe.Object]:
    if isinstance(item, griffe.Alias):
        return []
    return [item, *(each for member in item.members.values() for each in _all(member))]


def _split(shared: re.Match[str]) -> str:
    """Return a field for each of the names that share one."""
    indent, kind, names, text = shared.groups()
    return "".join(f"{indent}:{kind} {name}: {text.rstrip()}\n" for name in names.split(", "))


def _linked(role: re.Match[str], *, item: griffe.Object, public: dict[str, Any]) -> str:
    """Return a link to what a role of an item names; only the name if the reference does not have it."""
    name = role[1]
    first = name.split(".")[0]
    owner = item if isinstance(item, griffe.Class) else item.parent
    if first in public:
        return f"[`{name}`][asyncwork.{name if _has_anchor(name, public) else first}]"
    if isinstance(owner, griffe.Class) and first in owner.all_members:
        return f"[`{name}`][{_public_path(owner, public)}.{name}]"
    return f"`{name}`"


def _has_anchor(name: str, public: dict[str, Any]) -> bool:
    """Return whether the reference has a heading for a name: for classes and functions, not for plain attributes."""
    first, *rest = name.split(".")
    item = public[first]
    if item.is_alias:
        item = item.final_target
    return not rest or (item.is_class and rest[0] in item.all_members and not item.all_members[rest[0]].is_attribute)


def _public_path(owner: griffe.Class, public: dict[str, Any]) -> str:
    return f"asyncwork.{owner.name}" if owner.name in public else owner.path
