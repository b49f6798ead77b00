"""An image as CRI has it: one config on this platform, under all the names that lead to it."""

import json
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.values import dataclass

from .names import tags_and_digests

MANAGED = ("io.cri-containerd.image", "managed")
"""The label of images that CRI knows."""
PINNED = ("io.cri-containerd.pinned", "pinned")
"""The label of images that the kubelet must not remove."""
_SPEC = (
    "created",
    "author",
    "architecture",
    "variant",
    "os",
    "os.version",
    "os.features",
    "config",
    "rootfs",
    "history",
)


@dataclass(frozen=True, slots=True)
class CriImage:
    """`id` is the digest of the config; `size` is that of all its blobs as they are in the registry, in bytes.

    `document` is the config as it stands, `target` what a name of it points to, `manifest` the digest of the
    one that was chosen.
    """

    id: str
    chain_id: str
    size: int
    document: Mapping[str, Any]
    target: Descriptor
    manifest: str = ""
    references: tuple[str, ...] = ()
    pinned: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def execution(self) -> Mapping[str, Any]:
        """The field `config` of the document: Env, Entrypoint, Cmd, User, WorkingDir, Volumes, StopSignal, Labels."""
        return self.document.get("config") or {}

    @property
    def name(self) -> str:
        """A name to show and to record with a container: a tag where there is one, else a digest, else the id."""
        tags, digests = tags_and_digests(self.references)
        return (tags or digests or [self.id])[0]

    def message(self) -> pb.Image:
        """What the kubelet is told."""
        tags, digests = tags_and_digests(self.references)
        message = pb.Image(id=self.id, repo_tags=tags, repo_digests=digests, size=self.size, pinned=self.pinned)
        uid, message.username = user_of(str(self.execution.get("User") or ""))
        if uid is not None:
            message.uid.value = uid
        return message

    def info(self) -> dict[str, str]:
        """The verbose document, as tools read it."""
        spec = {key: self.document[key] for key in _SPEC if key in self.document}
        return {"info": json.dumps({"chainID": self.chain_id, "imageSpec": spec}, ensure_ascii=False)}

    def recorded(self, record: Image, *, pinned: bool = False) -> "CriImage":
        """The same as another record of the same target has it; `pinned`: by the settings, whatever its labels."""
        pinned = pinned or record.labels.get(PINNED[0]) == PINNED[1]
        return replace(self, references=(record.name,), pinned=pinned, labels=record.labels, target=record.target)

    def known_as(self, references: tuple[str, ...], pinned: bool) -> "CriImage":
        """The same under other names."""
        return replace(self, references=references, pinned=pinned)


def user_of(user: str) -> tuple[int | None, str]:
    """The user part of `user[:group]`: a number, or else a name. A number too large for the field is a name."""
    name = user.partition(":")[0]
    digits = name.removeprefix("-").removeprefix("+")
    if digits.isascii() and digits.isdigit() and -(1 << 63) <= int(name) < 1 << 63:
        return int(name), ""
    return None, name
