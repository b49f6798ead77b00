"""What an archive of images was found to have."""

import posixpath
from collections.abc import Mapping, Sequence

from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument
from corten.values import dataclass

MAX_LINKS = 16
"""Links followed one after the other."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A member that is in the sink now; `head` are its first bytes, which tell its compression."""

    digest: str
    size: int
    head: bytes

    def descriptor(self, media_type: str) -> Descriptor:
        return Descriptor(media_type, self.digest, self.size)


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive was found to have: documents and stored blobs by member name, links by theirs."""

    documents: Mapping[str, bytes]
    blobs: Mapping[str, Stored]
    links: Mapping[str, str]

    def blob(self, name: str) -> Stored:
        """The blob behind a name, links followed. Raises InvalidArgument."""
        wanted = clean(name)
        for _ in range(MAX_LINKS):
            if wanted in self.blobs:
                return self.blobs[wanted]
            if wanted not in self.links:
                break
            wanted = self.links[wanted]
        raise InvalidArgument(f"archive: it names {name[:300]!r}, but has no such member")


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What came of an archive: the images, named by their annotations, and the index of all, which is in the sink."""

    index: Descriptor
    targets: Sequence[Descriptor]


def clean(name: str) -> str:
    """A member's name without `.`, `..` and a leading slash: names are only compared, never opened."""
    return posixpath.normpath(f"/{name}").lstrip("/")
