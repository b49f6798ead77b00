"""The conformance suite of `corten.contracts.diff`: plain functions, to be run against any differ of tar layers.

    @pytest.mark.parametrize("name", checks())
    def test_contract(name, tmp_path):
        checks()[name](MyDiffer(workers), MemoryContent(), tmp_path)

Each check is given an empty store and an empty directory, and raises AssertionError when the contract is broken. They
need root on Linux, and a directory on a file system that can be the upper layer of an overlay.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from corten import digests
from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.diff import Differ, StreamDiffer
from corten.contracts.mounts import Mount
from corten.errors import DataLoss, InvalidArgument, NotFound, Unimplemented

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .diff_compare import COMPARE
from .diff_stacks import STACKS, refused
from .snapshots import fails
from .trees import GZIP, PLAIN, ZSTD, Stack, compressed, empty_files, layer, stored

__all__ = ["Check", "checks"]

Check = Callable[[Differ, ContentStore, Path], None]
StackCheck = Callable[[Stack], None]


def checks() -> Mapping[str, Check]:
    """All checks by name; those of whole stacks for plain directories, for overlays, and for overlays whose layers are
    unpacked before those below them, where the differ can do that."""
    found = {check.__name__.removeprefix("_"): check for check in (*_APPLY, *COMPARE)}
    for check in STACKS:
        name = check.__name__.removeprefix("_")
        found[f"{name}_plain"] = _on(check, overlay=False)
        found[f"{name}_overlay"] = _on(check, overlay=True)
        found[f"{name}_unseen"] = _on(check, overlay=True, unseen=True)
    return found


def _on(check: StackCheck, *, overlay: bool, unseen: bool = False) -> Check:
    def run(differ: Differ, content: ContentStore, work: Path) -> None:
        if not unseen or isinstance(differ, StreamDiffer):
            check(Stack(differ, content, work / "stack", overlay, unseen))

    return run


def _every_compression_gives_the_same_diff_id(differ: Differ, content: ContentStore, work: Path) -> None:
    data = layer(lambda made: made.add("f", os.urandom(300_000)))
    for number, media_type in enumerate((PLAIN, GZIP, ZSTD)):
        target = work / str(number)
        target.mkdir()
        blob = stored(content, compressed(data, media_type), media_type)
        result = differ.apply(blob, [Mount("bind", str(target), options=("rw", "rbind"))], content)
        assert result == Descriptor(PLAIN, digests.of(data), len(data))
        assert (target / "f").stat().st_size == 300_000


def _gzip_of_many_members(differ: Differ, content: ContentStore, work: Path) -> None:
    data = layer(lambda made: made.add("f", bytes(200_000)))
    blob = b"".join(compressed(data[i : i + 7000], GZIP) for i in range(0, len(data), 7000))
    result = differ.apply(stored(content, blob, GZIP), [Mount("bind", str(work), options=("rw",))], content)
    assert result.digest == digests.of(data)


def _bytes_after_the_archive_count(differ: Differ, content: ContentStore, work: Path) -> None:
    data = layer(lambda made: made.add("f", b"x")) + bytes(70_000) + b"more"
    blob = stored(content, compressed(data, GZIP), GZIP)
    assert differ.apply(blob, [Mount("bind", str(work), options=("rw",))], content).digest == digests.of(data)


def _an_empty_layer(differ: Differ, content: ContentStore, work: Path) -> None:
    data = layer(empty_files())
    result = differ.apply(stored(content, data), [Mount("bind", str(work), options=("rw",))], content)
    assert result == Descriptor(PLAIN, digests.of(data), len(data))
    assert os.listdir(work) == []


def _unknown_media_types_are_for_others(differ: Differ, content: ContentStore, work: Path) -> None:
    blob = stored(content, b"whatever", "application/vnd.example.layer")
    fails(Unimplemented, differ.apply, blob, [Mount("bind", str(work))], content)
    mounts = [Mount("bind", str(work))]
    fails(Unimplemented, lambda: differ.compare(mounts, mounts, content, media_type="application/vnd.example.layer"))


def _a_missing_blob_is_not_found(differ: Differ, content: ContentStore, work: Path) -> None:
    absent = Descriptor(GZIP, digests.of(b"absent"), 6)
    fails(NotFound, differ.apply, absent, [Mount("bind", str(work), options=("rw",))], content)


def _a_wrong_size_is_data_loss(differ: Differ, content: ContentStore, work: Path) -> None:
    blob = stored(content, layer(lambda made: made.add("f")))
    wrong = Descriptor(blob.media_type, blob.digest, blob.size + 1)
    fails(DataLoss, differ.apply, wrong, [Mount("bind", str(work), options=("rw",))], content)


def _damaged_layers_are_refused(differ: Differ, content: ContentStore, work: Path) -> None:
    data = layer(lambda made: made.add("f", os.urandom(100_000)))
    packed = compressed(data, GZIP)
    bad = bytearray(packed)
    bad[5000] ^= 0xFF
    mounts = [Mount("bind", str(work), options=("rw",))]
    for blob in (packed[:-2000], bytes(bad), data[:50_000], data[:700], b"not a tar at all" * 64, packed + b"tail"):
        fails(InvalidArgument, differ.apply, stored(content, blob, GZIP), mounts, content)


def _progress_is_told(differ: Differ, content: ContentStore, work: Path) -> None:
    blob = stored(content, layer(lambda made: made.add("f", os.urandom(4 << 20))))
    told: list[int] = []
    differ.apply(blob, [Mount("bind", str(work), options=("rw",))], content, progress=told.append, sync_fs=True)
    assert told == sorted(told) and told[-1] == blob.size


def _a_failed_layer_leaves_the_mounts_alone(differ: Differ, content: ContentStore, work: Path) -> None:
    before = _mounts_of(work)
    stack = Stack(differ, content, work / "stack", overlay=True)
    stack.apply(layer(lambda made: made.add("f")))
    stack.apply(layer(lambda made: made.add("g")))
    refused(stack, lambda made: made.add("../x"), InvalidArgument)
    assert _mounts_of(work) == before


def _mounts_of(work: Path) -> list[str]:
    """What is mounted from or on `work`, wherever; others on this host come and go (proc_pid_mountinfo(5))."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(work) in line]


_APPLY: Sequence[Check] = (
    _every_compression_gives_the_same_diff_id,
    _gzip_of_many_members,
    _bytes_after_the_archive_count,
    _an_empty_layer,
    _unknown_media_types_are_for_others,
    _a_missing_blob_is_not_found,
    _a_wrong_size_is_data_loss,
    _damaged_layers_are_refused,
    _progress_is_told,
    _a_failed_layer_leaves_the_mounts_alone,
)
