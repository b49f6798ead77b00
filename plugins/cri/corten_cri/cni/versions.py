"""Versions of the CNI specification: which there are, and how they compare."""

from corten.errors import InvalidArgument

CURRENT = "1.1.0"
KNOWN = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
OLDEST = "0.1.0"
"""What a configuration without a version means."""


def parse(version: str) -> tuple[int, int, int]:
    """The three numbers; missing ones are 0. Raises InvalidArgument."""
    parts = (version or OLDEST).split(".")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidArgument(f"CNI version {version!r}: expected three numbers, such as {CURRENT}")
    major, minor, patch = (*(int(part) for part in parts), 0, 0)[:3]
    return major, minor, patch


def at_least(version: str, wanted: str) -> bool:
    """Whether `version` is `wanted` or later."""
    return parse(version) >= parse(wanted)


def choose(version: str, offered: list[str]) -> str:
    """The latest known version among `version` (may be empty) and those in `cniVersions`, as the specification says.

    Without any that is known it is `version`.
    """
    fit = [each for each in (*offered, version) if each and parse(each) <= parse(CURRENT)]
    return max(fit, key=parse) if offered and fit else version
