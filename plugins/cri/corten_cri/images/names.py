"""Names of images as CRI has them: a digest drops the tag, and a list of names is tags and digests."""

import re
from collections.abc import Iterable
from dataclasses import replace

from corten import references
from corten.errors import CortenError
from corten.references import Reference

_WHOLE = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}", re.ASCII)
_ID = re.compile(r"(?:sha(?:256|384|512):)?[0-9a-f]+", re.ASCII)


def parse(text: str) -> Reference:
    """The full form of what the kubelet wrote; with a digest the tag says nothing. Raises InvalidArgument."""
    reference = references.parse(text)
    return replace(reference, tag="") if reference.digest else reference


def may_be_id(text: str) -> bool:
    """Whether it could be an image id, or the beginning of one, with or without its algorithm."""
    return _ID.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether it is a whole id. It is then no name: `sha256:HEX` must not mean an image called sha256."""
    return _WHOLE.fullmatch(text) is not None


def of_pulled(reference: Reference, digest: str) -> list[str]:
    """The names of what was pulled: by tag if it has one, and by digest."""
    by_digest = str(reference) if reference.digest else f"{reference.name}@{digest}"
    return [by_digest] if reference.digest else [str(reference), by_digest]


def tags_and_digests(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """`repo_tags` and `repo_digests`; names that are neither (the id itself) are left out."""
    tags: list[str] = []
    digests: list[str] = []
    for name in sorted(names):
        reference = _reference(name)
        if reference is not None:
            (digests if reference.digest else tags).append(name)
    return tags, digests


def repository(name: str) -> str:
    """Host and path of a name; empty for a name that is no reference."""
    reference = _reference(name)
    return reference.name if reference else ""


def _reference(name: str) -> Reference | None:
    if ":" in name and _ID.fullmatch(name):
        return None
    try:
        return references.parse(name)
    except CortenError:
        return None
