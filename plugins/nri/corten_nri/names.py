"""Names of plugins: an index of two digits, which is their order, and a base."""

import re

from corten.errors import InvalidArgument

_INDEX = re.compile(r"[0-9]{2}", re.ASCII)
_BASE = re.compile(r"[A-Za-z0-9_.+-]+", re.ASCII)


def checked(index: str, base: str) -> str:
    """`IDX-NAME`. Raises InvalidArgument."""
    if not _INDEX.fullmatch(index):
        raise InvalidArgument(f"NRI plugin {base[:80]!r}: its index {index[:20]!r} must be two digits")
    if not _BASE.fullmatch(base):
        raise InvalidArgument(f"NRI plugin {base[:80]!r}: its name must be letters, digits and _ . + -")
    return f"{index}-{base}"


def split(name: str) -> tuple[str, str]:
    """Index and base of `IDX-NAME`. Raises InvalidArgument."""
    index, _, base = name.partition("-")
    checked(index, base)
    return index, base


def removed(key: str) -> tuple[str, bool]:
    """The key that a plugin means, and whether it wants it removed: `-KEY`."""
    return (key[1:], True) if key.startswith("-") else (key, False)
