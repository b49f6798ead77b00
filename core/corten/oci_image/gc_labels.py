"""The labels by which gc keeps what an image consists of, and by which clients know where a blob came from."""

import re
from collections.abc import Mapping, Sequence

from corten import labels as label_rules
from corten.contracts.descriptor import Descriptor

from . import media_types

UNCOMPRESSED = "containerd.io/uncompressed"
"""On a layer: its diff id."""
SOURCE = "containerd.io/distribution.source."
"""On a blob, behind it a registry's host (no port): the repositories there that have it, sorted, joined by commas."""
_CONTENT = "containerd.io/gc.ref.content."
LAYER = f"{_CONTENT}l."
"""On a manifest, before a number: a layer that it holds."""
REFERRER = f"{_CONTENT}referrer.sha256."
"""On a document, before the start of its digest: an index or manifest about it, as in containerd (2.3) and dockerd."""
_SNAPSHOT = "containerd.io/gc.ref.snapshot."
_PORT = re.compile(r":[0-9]+$")
_PARTS = {"index": "", "manifest": "m.", "layer": "l.", "config": "config", "unknown": ""}


def of_children(children: Sequence[Descriptor]) -> dict[str, str]:
    """For an index or manifest: `….config`, `….l.N`, `….m.N` or, also for an index, `….N`, with the digest of a child.

    The numbers count within a kind, in the order of the document; all children are named, fetched or not.
    """
    counts: dict[str, int] = {}
    labels = {}
    for child in children:
        part = _PARTS[media_types.kind(child.media_type)]
        number = counts.get(part, 0)
        counts[part] = number + 1
        numbered = not part or part.endswith(".") or number > 0
        labels[f"{_CONTENT}{part}{number if numbered else ''}"] = child.digest
    return labels


def of_referrers(referrers: Sequence[str]) -> dict[str, str]:
    """For a document: labels that keep the indexes and manifests about it, given by their digests."""
    return {f"{REFERRER}{digest.partition(':')[2][:12]}": digest for digest in referrers}


def referrers_in(labels: Mapping[str, str]) -> list[str]:
    """The digests of the referrers that a document's labels name, sorted."""
    return sorted({value for key, value in labels.items() if key.startswith(REFERRER)})


def of_unpacked(snapshotter: str, chain_id: str) -> dict[str, str]:
    """For the config of an image that was unpacked: its top snapshot."""
    return {f"{_SNAPSHOT}{snapshotter}": chain_id}


def of_source(host: str, path: str, present: Mapping[str, str] | None = None) -> dict[str, str]:
    """For every blob: the repository it can be had from, added to those that `present` names for the host."""
    key = f"{SOURCE}{_PORT.sub('', host).strip('[]')}"
    known = {name for name in (present or {}).get(key, "").split(",") if name}
    value = ",".join(sorted({*known, path}))
    return {key: value if len(key) + len(value) <= label_rules.MAX_SIZE else path}
