"""How the layers of an image become snapshots: a plan, for whoever has a snapshotter and a differ to carry out.

For each step, in order:

    if the snapshot step.chain_id exists: go on
    mounts = prepare(step.key, step.parent, step.labels)
    applied = apply(step.layer, mounts)           # must give step.diff_id, else remove step.key and fail
    commit(step.chain_id, step.key, step.labels)  # AlreadyExists: another was faster; remove step.key and go on
    label the blob step.layer.digest with step.layer_labels

and at the end label the config's blob with `gc_labels.of_unpacked(snapshotter, chain_id(diff_ids))`.
Names and labels are those of containerd's clients, so that both find each other's snapshots.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import field

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument
from corten.labels import MAX_SIZE
from corten.values import dataclass

from . import gc_labels
from .media_types import is_layer

SNAPSHOT_REF = "containerd.io/snapshot.ref"
"""On a snapshot in the making: the name it is to be committed under (remote snapshotters look at it)."""
DIFF_ID = "containerd.io/snapshot/diff-id"
PARENT = "containerd.io/snapshot/parent-chain-id"
"""What containerd tells snapshotters besides: the digest of the uncompressed layer, the name of the snapshot below."""
IMAGE_REF = "containerd.io/snapshot/cri.image-ref"
MANIFEST = "containerd.io/snapshot/cri.manifest-digest"
LAYER = "containerd.io/snapshot/cri.layer-digest"
LAYERS = "containerd.io/snapshot/cri.image-layers"
"""What remote snapshotters find a layer by; `LAYERS` are the digests of this layer and those above."""
ABSENT = "io.corten.image/absent-blobs"
"""On an image: the digests of layers whose blobs were not fetched, because a remote snapshotter has the layers."""
_INHERITED = "containerd.io/snapshot/"


@dataclass(frozen=True, slots=True)
class UnpackStep:
    """One layer: unpack it on `parent`, under `key`, and commit it as `chain_id`."""

    layer: Descriptor
    diff_id: str
    parent: str
    chain_id: str
    key: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def layer_labels(self) -> Mapping[str, str]:
        """What the layer's blob is labelled with once its diff id was seen to be right."""
        return {gc_labels.UNCOMPRESSED: self.diff_id}


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each layer: of it and all below.

    https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
    """
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digests.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def chain_id(diff_ids: Sequence[str]) -> str:
    """The name of the snapshot with all layers; empty for an image without layers."""
    return chain_ids(diff_ids)[-1] if diff_ids else ""


def extract_key(chain_id: str) -> str:
    """A key under which nobody else unpacks; containerd's clients know unfinished work by its form."""
    return f"extract-{secrets.token_hex(6)} {chain_id}"


def snapshot_labels(layer: Descriptor, diff_id: str, parent: str, chain_id: str) -> dict[str, str]:
    """What a layer's snapshot is labelled with: its name, and what the image says for remote snapshotters."""
    inherited = {key: value for key, value in layer.annotations.items() if key.startswith(_INHERITED)}
    return {**inherited, SNAPSHOT_REF: chain_id, DIFF_ID: diff_id, **({PARENT: parent} if parent else {})}


def remote_labels(reference: str, manifest: str, layers: Sequence[Descriptor]) -> dict[str, str]:
    """What a remote snapshotter finds the first of `layers` by: the image, and the layers from there up.

    As many of these are named as a label has room for.
    """
    named = layers[0].digest
    for layer in layers[1:]:
        if len(LAYERS) + len(named) + 1 + len(layer.digest) > MAX_SIZE:
            break
        named += f",{layer.digest}"
    return {IMAGE_REF: reference, MANIFEST: manifest, LAYER: layers[0].digest, LAYERS: named}


def absent_label(layers: Sequence[Descriptor]) -> str:
    """The value of `ABSENT`; what has no room is counted. Empty for none, which takes an old label away."""
    shown = [layer.digest for layer in layers[: (MAX_SIZE - len(ABSENT) - 8) // 72]]
    more = len(layers) - len(shown)
    return ",".join([*shown, *([f"+{more}"] if more else [])])


def unpackable(layers: Sequence[Descriptor], diff_ids: Sequence[str]) -> Sequence[Descriptor]:
    """The layers of an image that are unpacked, one for each diff id.

    A manifest may have others besides, a list of parts say, which its config knows nothing of; where all have a diff
    id, all are unpacked, whatever their media types. Raises InvalidArgument if they do not agree.
    """
    found = layers if len(layers) == len(diff_ids) else [each for each in layers if is_layer(each.media_type)]
    if len(found) != len(diff_ids):
        raise InvalidArgument(f"it has {len(found)} layers, but its config has {len(diff_ids)} diff ids")
    return found


def plan(
    layers: Sequence[Descriptor], diff_ids: Sequence[str], *, reference: str = "", manifest: str = ""
) -> tuple[UnpackStep, ...]:
    """The steps, base layer first; labelled for remote snapshotters if there is a `reference`.

    Raises InvalidArgument if the config has not a diff id for each layer.
    """
    layers = unpackable(layers, diff_ids)
    chain = chain_ids(diff_ids)
    steps = []
    for number, (diff_id, parent, name) in enumerate(zip(diff_ids, ["", *chain], chain, strict=False)):
        labels = snapshot_labels(layers[number], diff_id, parent, name)
        if reference:
            labels |= remote_labels(reference, manifest, layers[number:])
        steps.append(UnpackStep(layers[number], diff_id, parent, name, extract_key(name), labels))
    return tuple(steps)
