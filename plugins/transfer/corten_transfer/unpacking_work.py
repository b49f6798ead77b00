"""What is done to the layers of one image in one snapshotter; every method blocks, and leaves nothing when it fails."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from corten.contracts.content import ContentInfo, ContentStore
from corten.contracts.diff import Arriving, Differ, StreamDiffer, Unpacked
from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Repairer, Snapshotter, Syncer
from corten.errors import AlreadyExists, CortenError, DataLoss, FailedPrecondition, NotFound, Unimplemented
from corten.messages import decryption
from corten.oci_image.unpack import UnpackStep
from corten.values import dataclass

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A snapshot in the making for a layer; `alone`: it was prepared without its parent."""

    step: UnpackStep
    mounts: Sequence[Mount]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Filled:
    """A layer that is unpacked and not yet committed, with what its differ assumed of those below."""

    prepared: Prepared
    assumed: bytes = b""


class Work:
    """`keys` are the snapshots in the making that are to be removed if nothing comes of them."""

    differ: Differ
    """Set before anything is filled."""

    def __init__(self, snapshots: Snapshotter, content: ContentStore, keep: Callable[[str], None]) -> None:
        """`keep` puts a committed snapshot into the lease of the work."""
        self._snapshots = snapshots
        self._content = content
        self._keep = keep
        self.keys: set[str] = set()

    def damaged(self, steps: Sequence[UnpackStep]) -> UnpackStep | None:
        """The lowest whose snapshot is there and damaged."""
        for step in steps:
            try:
                self._snapshots.stat(step.chain_id)
            except NotFound:
                return None
            except DataLoss:
                return step
        return None

    def repair(self, filled: Filled) -> None:
        """Put what was unpacked in the place of the damaged snapshot. Raises Unimplemented if that cannot be done."""
        step = filled.prepared.step
        if not isinstance(self._snapshots, Repairer):
            raise Unimplemented(
                f"snapshot {step.chain_id} is damaged: remove it and what is built on it, and pull again"
            )
        self._snapshots.replace(step.chain_id, step.key)
        self.keys.discard(step.key)

    def missing(self, steps: Sequence[UnpackStep]) -> list[UnpackStep]:
        """The steps from the first on that has no snapshot; the others' stay, even if their image goes meanwhile."""
        kept, present = 0, self._present(steps)
        while present != kept:
            if present:
                self._keep(steps[present - 1].chain_id)  # and so those that it lies on
            kept, present = present, self._present(steps)  # it may have been collected just before
        return list(steps[present:])

    def _present(self, steps: Sequence[UnpackStep]) -> int:
        """How many of the steps, lowest first, have a snapshot."""
        for number, step in enumerate(steps):
            try:
                self._snapshots.stat(step.chain_id)
            except NotFound:
                return number
        return len(steps)

    def prepare(self, step: UnpackStep, *, alone: bool) -> Prepared | None:
        """Make the snapshot that the layer is unpacked into; None if the layer's own is there already.

        A snapshotter that has the layer, remotely say, answers so.
        """
        self.keys.add(step.key)
        try:
            mounts = self._snapshots.prepare(step.key, "" if alone else step.parent, step.labels)
        except AlreadyExists:
            self.keys.discard(step.key)
            self._snapshots.stat(step.chain_id)
            return None
        return Prepared(step, as_upper(mounts) if alone else mounts, alone)

    def fill(self, prepared: Prepared, source: Arriving | None, told: Told) -> Filled:
        """Unpack the layer, from the store or while it arrives there; its diff id is checked.

        Raises DataLoss for a layer that is not what the config promises, FailedPrecondition for one that cannot be
        unpacked without those below, and what the differ raises.
        """
        step = prepared.step
        unpacked = self._unpacked(prepared, source, told)
        if unpacked.layer.digest != step.diff_id:
            raise DataLoss(
                f"layer {step.layer.digest}: unpacks to {unpacked.layer.digest}, "
                f"but the image's config says {step.diff_id}"
            )
        return Filled(prepared, unpacked.assumed)

    def finish(self, filled: Sequence[Filled]) -> list[UnpackStep]:
        """Put layers that lie on each other together, write them to disk at once, and commit them, lowest first.

        Returns those that must be unpacked anew, each on its parent, because they do not fit.
        """
        fit = len(filled)
        try:
            if any(each.prepared.alone for each in filled):
                self._settle(filled)
        except FailedPrecondition:
            fit = 0 if filled[0].prepared.alone else 1
        if isinstance(self._snapshots, Syncer):
            self._snapshots.sync([each.prepared.step.key for each in filled[:fit]])
        for each in filled[:fit]:
            self._commit(each.prepared)
        return [each.prepared.step for each in filled[fit:]]

    def clear(self) -> None:
        """Remove what was begun and not committed."""
        for key in list(self.keys):
            with suppress(CortenError):
                self._snapshots.remove(key)
            self.keys.discard(key)

    def relabel(self, digest: str, labels: dict[str, str]) -> None:
        """Add labels to a blob; one that was not fetched has none."""
        with suppress(NotFound):
            self._content.update(ContentInfo(digest, labels=labels), [f"labels.{key}" for key in labels])

    def _unpacked(self, prepared: Prepared, source: Arriving | None, told: Told) -> Unpacked:
        layer, mounts, content = prepared.step.layer, prepared.mounts, self._content
        payloads = decryption.payloads(layer)
        if source is None and not prepared.alone:
            return Unpacked(self.differ.apply(layer, mounts, content, payloads=payloads, progress=told))
        if not isinstance(self.differ, StreamDiffer):
            raise FailedPrecondition(f"layer {layer.digest}: its differ unpacks whole layers on their parents only")
        try:
            return self.differ.unpack(layer, mounts, source or content, payloads=payloads, progress=told)
        except Unimplemented as error:
            raise FailedPrecondition(error.message) from error

    def _settle(self, filled: Sequence[Filled]) -> None:
        assert isinstance(self.differ, StreamDiffer)
        self.differ.settle([(each.prepared.mounts, each.assumed) for each in filled])

    def _commit(self, prepared: Prepared) -> None:
        step = prepared.step
        try:
            self._snapshots.commit(step.chain_id, step.key, step.labels, step.parent if prepared.alone else "")
        except AlreadyExists:  # another client was faster: its snapshot is as good
            pass
        else:
            self.keys.discard(step.key)
        self.relabel(step.layer.digest, dict(step.layer_labels))


def as_upper(mounts: Sequence[Mount]) -> list[Mount]:
    """The directory of a snapshot without a parent as the upper one of an overlay whose lower ones come later.

    `corten.contracts.diff` says what that means.
    """
    if len(mounts) != 1 or mounts[0].type != "bind":
        return list(mounts)
    words = [word for word in mounts[0].options if word not in ("bind", "rbind")]
    return [Mount("overlay", "overlay", options=(*words, f"upperdir={mounts[0].source}"))]
