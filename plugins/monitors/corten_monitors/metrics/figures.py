"""A figure of a cgroup: its name, and where it is in the message of a shim."""

from collections.abc import Iterator
from typing import Any

from corten.values import dataclass
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Figure:
    """`path` leads to a number, or to a repeated field: then there is one sample for each entry, with its labels."""

    name: str
    help: str
    path: tuple[str, ...]
    labels: tuple[str, ...] = ()
    value: str = ""
    """The field of an entry that holds the number; empty: the entries are numbers, and their index is the label."""
    fields: tuple[str, ...] = ()
    """The fields of an entry for the labels, where they are called otherwise."""

    def read(self, message: Message) -> Iterator[tuple[tuple[str, ...], float]]:
        """Labels and number; nothing if the part of the message is not there."""
        holder: Any = message
        for part in self.path[:-1]:
            if not holder.HasField(part):
                return
            holder = getattr(holder, part)
        found = getattr(holder, self.path[-1])
        if not self.labels:
            yield (), float(found)
            return
        for index, entry in enumerate(found):
            if self.value:
                labels = tuple(str(getattr(entry, field)) for field in self.fields or self.labels)
                yield labels, float(getattr(entry, self.value))
            else:
                yield (str(index),), float(entry)
