"""The one rule for identifiers: container ids, namespaces, lease ids and whatever else becomes a path component."""

import re

from corten.errors import InvalidArgument

MAX_LENGTH = 76
"""Bytes; containerd's own bound, which keeps paths built from identifiers short."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", re.ASCII)


def validate(id: str, what: str = "identifier") -> None:
    """Runs of ASCII letters and digits, joined by single `.`, `_` or `-`; at most `MAX_LENGTH` of them.

    Such an identifier is safe as a path component: never empty, `.`, `..`, hidden or an option.
    `what` names the thing in the message. Raises InvalidArgument.
    """
    if not id:
        raise InvalidArgument(f"{what}: it must not be empty")
    if len(id) > MAX_LENGTH:
        raise InvalidArgument(
            f"{what} {id[:MAX_LENGTH]!r}…: {len(id)} characters are more than the {MAX_LENGTH} allowed"
        )
    if not _IDENTIFIER.fullmatch(id):
        raise InvalidArgument(
            f"{what} {id!r}: it must be letters and digits, with a single '.', '_' or '-' between runs of them"
        )
