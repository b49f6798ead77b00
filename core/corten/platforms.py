"""Platforms: what an image is made for, which of them this host runs, and which is the best of several.

The form is `os[(version)]/architecture[/variant]`, the words those of Go
(https://github.com/opencontainers/image-spec/blob/main/image-index.md).
"""

import functools
import platform as host_platform
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from corten.errors import InvalidArgument
from corten.values import dataclass

T = TypeVar("T")

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "i386": "386",
    "i686": "386", "riscv": "riscv64", "powerpc64le": "ppc64le",
}  # fmt: skip
_VARIANTS = {"armhf": "v7", "armel": "v6"}
_DEFAULT_VARIANTS = {("arm", ""): "v7", ("arm", "5"): "v5", ("arm", "6"): "v6", ("arm", "7"): "v7", ("arm", "8"): "v8"}
_WORD = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_OS = re.compile(r"([A-Za-z0-9_-]+)(?:\(([^)]*)\))?", re.ASCII)
_KNOWN_OS = frozenset({
    "aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9",
    "solaris", "windows",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Platform:
    """`variant` is empty where there is but one; `os_version` is for Windows (`10.0.20348.1`)."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        version = f"({self.os_version})" if self.os_version else ""
        return "/".join(part for part in (f"{self.os}{version}", self.architecture, self.variant) if part)


def parse(text: str) -> Platform:
    """`linux/arm64/v8`, `linux/arm64`, `arm64` (of the host's system) or `windows` (of the host's architecture).

    Normalised. Raises InvalidArgument.
    """
    first, *rest = text.split("/")
    match = _OS.fullmatch(first)
    if match is None or len(rest) > 2 or not all(_WORD.fullmatch(part) for part in rest):
        raise InvalidArgument(f"platform {text[:128]!r}: it is not of the form os/architecture[/variant]")
    system, version = match.groups()
    if rest:
        return normalise(Platform(system, rest[0], "".join(rest[1:]), version or ""))
    if system.lower() in _KNOWN_OS:
        return replace(host(), os=system.lower(), os_version=version or "")
    return normalise(Platform(host().os, system))


def normalise(platform: Platform) -> Platform:
    """The usual words: amd64 for x86_64, no variant for arm64/v8 and amd64/v1, v7 for arm without one."""
    system = platform.os.lower().replace("macos", "darwin")
    named = platform.architecture.lower()
    architecture = _ARCHITECTURES.get(named, named)
    variant = _VARIANTS.get(named, platform.variant.lower())
    if (architecture, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")):
        variant = ""
    variant = _DEFAULT_VARIANTS.get((architecture, variant), variant)
    return Platform(system, architecture, variant, platform.os_version)


@functools.cache
def host() -> Platform:
    """What this process runs on; the CPU's variant on arm."""
    machine = host_platform.machine().lower()
    variant = "v" + machine[4] if machine.startswith("armv") else ""
    architecture = "arm" if machine.startswith("armv") else machine
    system = {"win32": "windows"}.get(sys.platform, sys.platform)
    return normalise(Platform(system, architecture, variant))


def rank(wanted: Platform, offered: Platform) -> int | None:
    """How well `offered` runs on `wanted`: 0 is exact, more is worse, None is not at all."""
    wanted, offered = normalise(wanted), normalise(offered)
    if wanted.os != offered.os:
        return None
    if wanted.os_version and offered.os_version and not _same_build(wanted.os_version, offered.os_version):
        return None
    choices = _runnable(wanted.architecture, wanted.variant)
    pair = (offered.architecture, offered.variant)
    return choices.index(pair) if pair in choices else None


def best(wanted: Platform, offered: Iterable[tuple[Platform, T]]) -> T | None:
    """The first of the best of several; None when none runs."""
    ranked = ((rank(wanted, platform), item) for platform, item in offered)
    fitting = [(score, item) for score, item in ranked if score is not None]
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _runnable(architecture: str, variant: str) -> list[tuple[str, str]]:
    """What runs on such a CPU, best first: an older variant always, 32-bit arm on arm64 usually."""
    match architecture:
        case "arm":
            newest = int(variant.removeprefix("v") or 7) if variant.removeprefix("v").isdigit() else 7
            return [("arm", f"v{number}") for number in range(newest, 4, -1)]
        case "arm64":
            return [*_older("arm64", variant, 8), *(("arm", f"v{number}") for number in range(8, 4, -1))]
        case "amd64":
            return _older("amd64", variant, 1)
    return [(architecture, variant)]


def _older(architecture: str, variant: str, oldest: int) -> list[tuple[str, str]]:
    major = variant.removeprefix("v").partition(".")[0]
    newer = [(architecture, variant)] if variant else []
    if major.isdigit():
        newer += [(architecture, f"v{number}") for number in range(int(major), oldest, -1) if f"v{number}" != variant]
    return [*newer, (architecture, "")]


def _same_build(wanted: str, offered: str) -> bool:
    return wanted.split(".")[:3] == offered.split(".")[:3]
