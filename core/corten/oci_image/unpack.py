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
from dataclasses import dataclass, field

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument

from . import gc_labels

SNAPSHOT_REF = "containerd.io/snapshot.ref"
"""On a snapshot in the making: the name it is to be committed under (remote snapshotters look at it)."""
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


def snapshot_labels(layer: Descriptor, chain_id: str) -> dict[str, str]:
    """What a layer's snapshot is labelled with: its name, and what the image says for remote snapshotters."""
    inherited = {key: value for key, value in layer.annotations.items() if key.startswith(_INHERITED)}
    return {**inherited, SNAPSHOT_REF: chain_id}


def plan(layers: Sequence[Descriptor], diff_ids: Sequence[str]) -> tuple[UnpackStep, ...]:
    """The steps, base layer first. Raises InvalidArgument if the config has not a diff id for each layer."""
    if len(layers) != len(diff_ids):
        raise InvalidArgument(f"image: {len(layers)} layers, but its config has {len(diff_ids)} diff ids")
    chain = chain_ids(diff_ids)
    return tuple(
        UnpackStep(layer, diff_id, parent, name, extract_key(name), snapshot_labels(layer, name))
        for layer, diff_id, parent, name in zip(layers, diff_ids, ["", *chain], chain, strict=False)
    )
