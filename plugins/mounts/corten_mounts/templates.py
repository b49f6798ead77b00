"""The transformer `format`: `{{ mount 0 }}` and the like, filled in from the mounts that were made before.

    {{ source N }}      the source of mount N        {{ mount N }}         where mount N was made
    {{ target N }}      its target                   {{ overlay N M }}     where N to M were made, joined by colons

The language is what containerd's clients write of Go's templates, not Go's: one call, and numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from corten.contracts.mounts import ActiveMount, Mount
from corten.errors import InvalidArgument

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}")
_CALL = re.compile(r"-?\s*(source|target|mount|overlay)((?:\s+-?\d+)+)\s*-?")


def formatted(mount: Mount, active: Sequence[ActiveMount]) -> Mount:
    """Source, target and options filled in. Raises InvalidArgument for what is no expression, or out of range."""
    return replace(
        mount,
        source=fill(mount.source, active),
        target=fill(mount.target, active),
        options=tuple(fill(word, active) for word in mount.options),
    )


def fill(text: str, active: Sequence[ActiveMount]) -> str:
    """`text` with each expression replaced. Raises InvalidArgument."""
    filled = _EXPRESSION.sub(lambda match: _value(match[1].strip(), text, active), text)
    if "{{" in _EXPRESSION.sub("", text):
        raise InvalidArgument(f"mount template {text!r}: an expression is not closed")
    return filled


def _value(expression: str, text: str, active: Sequence[ActiveMount]) -> str:
    match = _CALL.fullmatch(expression)
    if match is None:
        raise InvalidArgument(
            f"mount template {text!r}: {expression!r} is none of source, target, mount N, overlay N M"
        )
    name, numbers = match[1], [int(word) for word in match[2].split()]
    if len(numbers) != (2 if name == "overlay" else 1):
        raise InvalidArgument(f"mount template {text!r}: {expression!r} has a wrong count of numbers")
    for number in numbers:
        if not 0 <= number < len(active):
            raise InvalidArgument(
                f"mount template {text!r}: there is no mount {number}: {len(active)} were made before"
            )
    if name == "overlay":
        return ":".join(active[index].mount_point for index in _range(*numbers))
    found = active[numbers[0]]
    return {"source": found.mount.source, "target": found.mount.target, "mount": found.mount_point}[name]


def _range(first: int, last: int) -> range:
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)
