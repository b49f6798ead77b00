"""Reading the small text files of cgroup file systems; what is missing reads as nothing, for controllers differ."""

import sys

from . import files

assert sys.platform != "win32"

UNLIMITED = (1 << 64) - 1


def text(directory: str, name: str) -> str:
    """The file's text; empty if there is none."""
    try:
        return files.content(f"{directory}/{name}").decode()
    except OSError:
        return ""


def number(directory: str, name: str) -> int:
    """A file of one number; `max` is the largest, nothing is 0."""
    return value(text(directory, name).strip())


def value(word: str) -> int:
    """One number; `max` is the largest that fits."""
    if word == "max":
        return UNLIMITED
    try:
        return max(0, int(word))
    except ValueError:
        return 0


def table(directory: str, name: str) -> dict[str, int]:
    """A file of `key value` lines."""
    pairs = (line.split() for line in text(directory, name).splitlines())
    return {pair[0]: value(pair[1]) for pair in pairs if len(pair) == 2}


def device_name(major: int, minor: int) -> str:
    """`/dev/…` of a block device, as far as the kernel tells; else empty."""
    for line in text(f"/sys/dev/block/{major}:{minor}", "uevent").splitlines():
        if line.startswith("DEVNAME="):
            return "/dev/" + line[len("DEVNAME=") :]
    return ""
