"""Several differs as one: asked in the configured order until one knows the media type."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.diff import Arriving, Differ, Progress, StreamDiffer, Unpacked
from corten.contracts.mounts import Mount
from corten.errors import FailedPrecondition, Unimplemented

T = TypeVar("T")


class OrderedDiffer:
    """Fulfils `Differ`; what `io.containerd.service.v1.diff-service` is."""

    def __init__(self, differs: Mapping[str, Differ], missing: Mapping[str, str], sync_fs: bool = False) -> None:
        self._differs = dict(differs)
        self._missing = dict(missing)
        self._sync_fs = sync_fs

    def __repr__(self) -> str:
        return f"OrderedDiffer({', '.join(self._differs)})"

    def apply(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        content: ContentStore,
        *,
        payloads: Mapping[str, bytes] | None = None,
        sync_fs: bool = False,
        progress: Progress | None = None,
    ) -> Descriptor:
        sync = sync_fs or self._sync_fs
        return self._ask(
            f"unpack layer {layer.digest} of type {layer.media_type!r}",
            lambda _, differ: differ.apply(layer, mounts, content, payloads=payloads, sync_fs=sync, progress=progress),
        )

    def unpack(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        source: Arriving | ContentStore,
        *,
        payloads: Mapping[str, bytes] | None = None,
        progress: Progress | None = None,
    ) -> Unpacked:
        """What is assumed is put down with the id of the differ that assumed it."""

        def question(id: str, differ: Differ) -> Unpacked:
            unpacked = _streams(differ).unpack(layer, mounts, source, payloads=payloads, progress=progress)
            return replace(unpacked, assumed=f"{id}\n".encode() + unpacked.assumed)

        return self._ask(f"unpack layer {layer.digest} of type {layer.media_type!r} while it arrives", question)

    def settle(self, stack: Sequence[tuple[Sequence[Mount], bytes]]) -> None:
        assumed = [assumed.partition(b"\n") for _, assumed in stack]
        ids = {id.decode() for id, _, text in assumed if text}
        if len(ids) > 1:
            raise FailedPrecondition(
                f"layers that {' and '.join(sorted(ids))} unpacked cannot be settled on each other"
            )
        for id in ids:
            _streams(self._differs[id]).settle(
                [(mounts, text) for (mounts, _), (_, _, text) in zip(stack, assumed, strict=True)]
            )

    def compare(
        self,
        lower: Sequence[Mount],
        upper: Sequence[Mount],
        content: ContentStore,
        *,
        media_type: str = "",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
        source_date_epoch: int | None = None,
    ) -> Descriptor:
        return self._ask(
            f"write a layer of type {media_type!r}",
            lambda _, differ: differ.compare(
                lower,
                upper,
                content,
                media_type=media_type,
                ref=ref,
                labels=labels,
                source_date_epoch=source_date_epoch,
            ),
        )

    def _ask(self, what: str, question: Callable[[str, Differ], T]) -> T:
        refusals = []
        for id, differ in self._differs.items():
            try:
                return question(id, differ)
            except Unimplemented as error:
                refusals.append(f"{id}: {error.message}")
        reasons = [*refusals, *(f"{id} is not there: {reason}" for id, reason in self._missing.items())]
        raise Unimplemented(f"cannot {what}: no differ does it ({'; '.join(reasons)})")


def _streams(differ: Differ) -> StreamDiffer:
    if not isinstance(differ, StreamDiffer):
        raise Unimplemented("it unpacks whole layers on their parents only")
    return differ


def ordered(
    wanted: Sequence[str], there: Mapping[str, Differ], failed: Mapping[str, BaseException], sync_fs: bool
) -> OrderedDiffer:
    """The differs of `wanted` that are there, in that order. Raises FailedPrecondition if none of them is."""
    missing = {id: str(failed.get(id, "no such plugin is installed")) for id in wanted if id not in there}
    found = {id: there[id] for id in wanted if id in there}
    if not found:
        reasons = "; ".join(f"{id}: {reason}" for id, reason in missing.items()) or "none is configured"
        raise FailedPrecondition(f"no differ of the configured order is there ({reasons}); see the key `default`")
    return OrderedDiffer(found, missing, sync_fs)
