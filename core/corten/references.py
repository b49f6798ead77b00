"""Names of images: `[host[:port]/]path[:tag][@digest]`, with docker's short forms spelled out.

`busybox` means `docker.io/library/busybox:latest`. Grammar:
https://github.com/distribution/reference/blob/main/reference.go
"""

import re
from dataclasses import replace

from corten import digests
from corten.errors import InvalidArgument
from corten.values import dataclass

DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
"""Characters of host and path together."""

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry; a digest, if there is one, says which, and the tag is then for people."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{'@' if self.digest else ''}{self.digest}"

    @property
    def name(self) -> str:
        """Host and path."""
        return f"{self.host}/{self.path}"

    @property
    def object(self) -> str:
        """What to ask the registry for: the digest, else the tag."""
        return self.digest or self.tag

    @property
    def familiar(self) -> str:
        """The short form that people write, as docker shows it."""
        return str(self).removeprefix(f"{DEFAULT_HOST}/").removeprefix("library/") if self._is_default else str(self)

    def with_digest(self, digest: str) -> "Reference":
        """The same image, pinned."""
        return replace(self, digest=digest)

    @property
    def _is_default(self) -> bool:
        return self.host == DEFAULT_HOST


def parse(text: str) -> Reference:
    """What a person wrote: the host defaults to docker.io, the tag to `latest`. Raises InvalidArgument."""
    if not text:
        raise InvalidArgument("image: its name is empty (give one like busybox or registry.example/app:1.0)")
    name, at, digest = text.partition("@")
    if at:
        digests.parse(digest)
    name, tag = _split_tag(name)
    host, path = _split_host(name)
    if not path or not _PATH.fullmatch(path):
        raise InvalidArgument(
            f"image {text[:_SHOWN]!r}: {path[:_SHOWN]!r} must be lower-case letters, digits and . _ - between slashes"
        )
    if tag and not _TAG.fullmatch(tag):
        raise InvalidArgument(f"image {text[:_SHOWN]!r}: bad tag {tag[:_SHOWN]!r}")
    if len(host) + 1 + len(path) > MAX_NAME:
        raise InvalidArgument(f"image {text[:_SHOWN]!r}: its name is longer than {MAX_NAME} characters")
    return Reference(host, path, tag or ("" if digest else DEFAULT_TAG), digest)


def normalised(text: str) -> str:
    """The full form of what a person wrote; this is how images are named in the store."""
    return str(parse(text))


def has_tag(text: str) -> bool:
    """Whether a person wrote a tag or a digest."""
    return ":" in text.rpartition("/")[2] or "@" in text


def _split_tag(name: str) -> tuple[str, str]:
    head, colon, tail = name.rpartition(":")
    if not colon or "/" in tail:  # the colon of a port
        return name, ""
    if not tail:
        raise InvalidArgument(f"image {name[:_SHOWN]!r}: the tag behind the colon is missing")
    return head, tail


def _split_host(name: str) -> tuple[str, str]:
    """As docker: the first part is a host if it has a dot or a colon, is `localhost`, or has upper-case letters."""
    first, slash, rest = name.partition("/")
    is_host = any(mark in first for mark in ".:") or first == "localhost" or first != first.lower()
    if slash and is_host:
        if not _HOST.fullmatch(first):
            raise InvalidArgument(f"image {name[:_SHOWN]!r}: bad registry host {first[:_SHOWN]!r}")
        host = DEFAULT_HOST if first in ("index.docker.io", "registry-1.docker.io") else first
        path = rest
    else:
        host, path = DEFAULT_HOST, name
    if host == DEFAULT_HOST and "/" not in path:
        path = f"library/{path}"
    return host, path
