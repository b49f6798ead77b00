"""Platforms: what an image is made for, which of them this host runs, and which is the best of several.

The form is `os[(version+feature…)]/architecture[/variant]`, as containerd's, the words those of Go
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
_OS = re.compile(r"([A-Za-z0-9_-]+)(?:\(([^)+]*)((?:\+[A-Za-z0-9_.-]+)*)\))?", re.ASCII)
_KNOWN_OS = frozenset({
    "aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9",
    "solaris", "windows",
})  # fmt: skip

_KNOWN_ARCHITECTURES = frozenset({
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64", "mips64le",
    "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv64", "s390", "s390x", "sparc", "sparc64",
    "wasm",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Platform:
    """`variant` is empty where there is but one; `os_version` is for Windows (`10.0.20348.1`).

    `os_features` are what an image needs, or a host offers, besides: `win32k`; `erofs` for layers of that kind.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        options = "".join([self.os_version, *(f"+{feature}" for feature in self.os_features)])
        version = f"({options})" if options else ""
        return "/".join(part for part in (f"{self.os}{version}", self.architecture, self.variant) if part)


def parse(text: str) -> Platform:
    """`linux/arm64/v8`, `linux/arm64`, `arm64` (of the host's system) or `windows` (of the host's architecture).

    Normalised. Raises InvalidArgument.
    """
    first, *rest = text.split("/")
    match = _OS.fullmatch(first)
    if match is None or len(rest) > 2 or not all(_WORD.fullmatch(part) for part in rest):
        raise InvalidArgument(f"platform {text[:128]!r}: it is not of the form os/architecture[/variant]")
    system, version, features = match.group(1), match.group(2) or "", tuple((match.group(3) or "").split("+")[1:])
    if rest:
        return normalise(Platform(system, rest[0], "".join(rest[1:]), version, features))
    if system.lower() in _KNOWN_OS:
        return normalise(replace(host(), os=system.lower(), os_version=version, os_features=features))
    found = normalise(Platform(host().os, system))
    if found.architecture not in _KNOWN_ARCHITECTURES:
        raise InvalidArgument(f"platform {text[:128]!r}: neither a system nor an architecture is called that")
    return found


def normalise(platform: Platform) -> Platform:
    """The usual words: amd64 for x86_64, no variant for arm64/v8 and amd64/v1, v7 for arm without one."""
    system = platform.os.lower().replace("macos", "darwin")
    named = platform.architecture.lower()
    architecture = _ARCHITECTURES.get(named, named)
    variant = _VARIANTS.get(named, platform.variant.lower())
    if (architecture, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")):
        variant = ""
    variant = _DEFAULT_VARIANTS.get((architecture, variant), variant)
    return Platform(system, architecture, variant, platform.os_version, tuple(sorted({*platform.os_features})))


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
    if not set(offered.os_features) <= set(wanted.os_features):
        return None
    choices = _runnable(wanted.architecture, wanted.variant)
    pair = (offered.architecture, offered.variant)
    return choices.index(pair) if pair in choices else None


def best(wanted: Platform, offered: Iterable[tuple[Platform, T]]) -> T | None:
    """The first of the best of several, among equals that with the most features; None when none runs."""
    ranked = ((rank(wanted, platform), -len(platform.os_features), item) for platform, item in offered)
    fitting = [((score, features), item) for score, features, item in ranked if score is not None]
    return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _runnable(architecture: str, variant: str) -> list[tuple[str, str]]:
    """What runs on such a CPU, best first, as containerd has it: older variants, and 32-bit code on 64-bit CPUs."""
    match architecture:
        case "arm":
            newest = int(variant.removeprefix("v") or 7) if variant.removeprefix("v").isdigit() else 7
            return [("arm", f"v{number}") for number in range(newest, 4, -1)]
        case "arm64":
            return [*_arm64(variant), *(("arm", f"v{number}") for number in range(8, 4, -1))]
        case "amd64":
            return [*_older("amd64", variant, 1), ("386", "")]
    return [(architecture, variant)]


def _arm64(variant: str) -> list[tuple[str, str]]:
    """v9.N has all of v9 up to N and of v8 up to N + 5, of which there are 9; v8 is written without a variant."""
    major, _, minor = variant.removeprefix("v").partition(".")
    if variant and (major not in ("8", "9") or not (minor or "0").isdigit()):
        return [("arm64", variant)]
    newest = int(minor or 0)
    nines = [f"v9.{number}" if number else "v9" for number in range(newest, -1, -1)] if major == "9" else []
    newest = min(newest + 5, 9) if major == "9" else newest
    return [("arm64", each) for each in (*nines, *(f"v8.{number}" for number in range(newest, 0, -1)), "")]


def _older(architecture: str, variant: str, oldest: int) -> list[tuple[str, str]]:
    major = variant.removeprefix("v").partition(".")[0]
    newer = [(architecture, variant)] if variant else []
    if major.isdigit():
        newer += [(architecture, f"v{number}") for number in range(int(major), oldest, -1) if f"v{number}" != variant]
    return [*newer, (architecture, "")]


def _same_build(wanted: str, offered: str) -> bool:
    return wanted.split(".")[:3] == offered.split(".")[:3]
