"""A group of nodes of a flow, as Redis holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from .._json import codec
from ..models.flows import When


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group of nodes of a flow, which one call has added, as Redis holds it.

    :ivar after: the first numbers of the groups that it follows.
    :ivar set: the first number of the set to which all of its nodes belong; -1 if they follow no others, and ``None``
        if each of them is a set, or follows no others.
    """

    first: int
    count: int
    name: str
    label: str
    when: When
    after: tuple[int, ...]
    set: int | None

    @property
    def numbers(self) -> range:
        """The numbers of its nodes."""
        return range(self.first, self.first + self.count)

    def encode(self) -> bytes:
        """Return it as JSON."""
        fields: dict[str, object] = {"first": self.first, "count": self.count, "name": self.name}
        if self.label:
            fields["label"] = self.label
        if self.when is not When.SUCCESS:
            fields["when"] = self.when.value
        if self.after:
            fields["after"] = list(self.after)
        if self.set != -1:
            fields["set"] = self.set
        return codec.encode_args(fields)

    @classmethod
    def read(cls, fields: Any) -> Self | None:
        """Return the group with these fields, which JSON holds; ``None`` if they are not those of a group."""
        try:
            first, count, after = fields["first"], fields["count"], tuple(fields.get("after", ()))
            set_ = fields.get("set", -1)
            if not all(type(each) is int for each in (first, count, *after)) or not (set_ is None or type(set_) is int):
                return None
            if first < 0 or not 0 < count <= 10**9:
                return None
            when = When(fields.get("when", When.SUCCESS))
            return cls(first, count, str(fields["name"]), str(fields.get("label", "")), when, after, set_)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
