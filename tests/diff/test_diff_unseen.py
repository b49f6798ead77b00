"""Layers unpacked before those below them: the image is the one that unpacking one by one makes, or it is refused."""

import os
import random
import stat
import tarfile
import threading
import time
from pathlib import Path

import pytest
from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.errors import CortenError, FailedPrecondition, InvalidArgument, Unavailable
from corten.linux.mount import temporary_mount
from corten.registry.arrival import Arrival
from corten.testing.memory_content import MemoryContent
from corten.testing.trees import GZIP, Layer, Stack, compressed, describe, layer, stored, upper_mounts
from corten_differs.walking import WalkingDiffer
from counts import count

pytestmark = pytest.mark.integration


def some_layer(chance: random.Random) -> bytes:
    """Entries that get in each other's way, and in that of other layers, as often as not."""

    def path(folder: bool = False) -> str:
        """Names of folders and of files are apart, most often."""
        words = [chance.choice("abc") for _ in range(chance.choice([0, 1, 1, 2]))]
        return "/".join([*words, chance.choice("abc" if folder or chance.random() < 0.03 else "xyz")])

    made, files = Layer(), ["z"]
    made.add("z")
    for _ in range(chance.randrange(1, 9)):
        name = path()
        match chance.randrange(10):
            case 0 | 1:
                made.directory(path(folder=True), chance.choice([0o755, 0o700, 0o1777]), uid=chance.randrange(3))
            case 2:
                made.symlink(name, chance.choice(["a", "b/c", "/c", "../b"]))
            case 3:
                made.link(name, path() if chance.random() < 0.1 else chance.choice(files))
            case 4 | 5:
                head, _, base = path(folder=chance.random() < 0.5).rpartition("/")
                made.add(f"{head}/.wh.{base}".lstrip("/"))
            case 6:
                made.add(f"{path(folder=True)}/.wh..wh..opq")
            case _:
                files.append(name)
                made.add(name, bytes([chance.randrange(256)]), mode=chance.choice([0o644, 0o4755]))
    if chance.random() < 0.1:
        made.add(".wh..wh..opq")
    if chance.random() < 0.2:
        made.directory("./", 0o711, uid=7)
    return made.done()


def one_by_one(differ: WalkingDiffer, content: ContentStore, root: Path, blobs: list[Descriptor]) -> object:
    stack = Stack(differ, content, root, overlay=True)
    try:
        for blob in blobs:
            differ.apply(blob, stack.next_mounts(), content)
        with stack.view() as tree:
            return describe(tree)
    except CortenError as error:
        return type(error)


def together(differ: WalkingDiffer, content: ContentStore, root: Path, blobs: list[Descriptor]) -> object:
    """From the topmost down, then settled at once; the error's class for what cannot be done so."""
    uppers = [root / str(number) / "fs" for number in range(len(blobs))]
    for upper in uppers:
        upper.mkdir(parents=True, mode=0o755)
    lowest = [Mount("bind", str(uppers[0]), options=("rw", "rbind"))]
    mounts = [lowest, *(upper_mounts(upper) for upper in uppers[1:])]
    try:
        unpacked = [differ.unpack(blob, each, content) for blob, each in zip(blobs[::-1], mounts[::-1], strict=True)]
        differ.settle([(each, found.assumed) for each, found in zip(mounts, unpacked[::-1], strict=True)])
    except CortenError as error:
        return type(error)
    lowers = ":".join(str(upper) for upper in reversed(uppers))
    with temporary_mount([Mount("overlay", "overlay", options=("index=off", f"lowerdir={lowers}"))]) as tree:
        return describe(tree)


def test_the_same_image_in_either_way(differ: WalkingDiffer, memory_backed: Path) -> None:
    done = 0
    for seed in range(count("random stacks of layers")):
        chance, content = random.Random(seed), MemoryContent()
        blobs = [stored(content, some_layer(chance)) for _ in range(chance.randrange(2, 5))]
        expected = one_by_one(differ, content, memory_backed / f"{seed}-one", blobs)
        found = together(differ, content, memory_backed / f"{seed}-all", blobs)
        # An error makes a pull try each layer on its parent; there, what a later entry replaces may be refused.
        if isinstance(found, dict) and isinstance(expected, dict):
            assert found == expected, f"seed {seed}"
            done += 1
    assert done > count("random stacks of layers") // 3


def test_marks_are_those_of_overlayfs(differ: WalkingDiffer, memory_backed: Path) -> None:
    """What a client that unpacks in parallel asks for: an overlay without lower layers."""

    def fill(made: Layer) -> None:
        made.add("d/.wh.gone")
        made.add("opaque/.wh..wh..opq")
        made.add("opaque/new")

    content = MemoryContent()
    differ.apply(stored(content, layer(fill)), upper_mounts(memory_backed), content)
    gone = (memory_backed / "d/gone").lstat()
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert os.getxattr(memory_backed / "opaque", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(memory_backed / "opaque")) == ["new"]
    with pytest.raises(FailedPrecondition, match="not empty"):
        differ.apply(stored(content, layer(fill)), upper_mounts(memory_backed), content)


def test_what_needs_the_layers_below_says_so(differ: WalkingDiffer, memory_backed: Path) -> None:
    content = MemoryContent()
    linked = stored(content, layer(lambda made: made.link("new", "of/another/layer")))
    with pytest.raises(FailedPrecondition, match="hard link"):
        differ.unpack(linked, upper_mounts(memory_backed), content)


def test_a_directory_over_a_link_is_not_settled(differ: WalkingDiffer, memory_backed: Path) -> None:
    content = MemoryContent()
    stack = Stack(differ, content, memory_backed, overlay=True)

    def base(made: Layer) -> None:
        made.directory("usr/lib")
        made.symlink("lib", "usr/lib")

    stack.apply(layer(base))
    stack.next_mounts()
    unpacked = differ.unpack(
        stored(content, layer(lambda made: made.add("lib/new"))), upper_mounts(stack.uppers[1]), content
    )
    with pytest.raises(FailedPrecondition, match="lib is no directory"):
        differ.settle([(upper_mounts(stack.uppers[0]), b""), (upper_mounts(stack.uppers[1]), unpacked.assumed)])


class Download:
    """A blob that a thread writes piece by piece, as a pull does."""

    def __init__(self, path: Path, data: bytes, stop: int | None = None) -> None:
        self.arrival = Arrival("sha256:test")
        self._file = path.open("wb", buffering=0)
        self.arrival.begin(self._file.fileno())
        self._data, self._stop = data, len(data) if stop is None else stop
        self._thread = threading.Thread(target=self._write)

    def start(self) -> "Download":
        self._thread.start()
        return self

    def join(self) -> None:
        self._thread.join()
        self._file.close()

    def _write(self) -> None:
        step = max(1, len(self._data) // 20)
        for offset in range(0, self._stop, step):
            time.sleep(0.005)
            self._file.write(self._data[offset : min(offset + step, self._stop)])
            self.arrival.grew()
        self.arrival.close()


@pytest.mark.parametrize("media_type", [GZIP, GZIP.replace("gzip", "zstd")])
async def test_a_layer_is_unpacked_while_it_arrives(
    media_type: str, differ: WalkingDiffer, memory_backed: Path, tmp_path: Path
) -> None:
    def fill(made: Layer) -> None:
        for number in range(300):
            made.add(f"d{number % 7}/f{number}", os.urandom(5000))

    data = layer(fill)
    blob = compressed(data, media_type)
    download = Download(tmp_path / "blob", blob).start()
    told: list[int] = []
    described = Descriptor(media_type, "sha256:" + "0" * 64, len(blob))
    unpacked = differ.unpack(described, [Mount("bind", str(memory_backed))], download.arrival, progress=told.append)
    download.join()
    whole = differ.apply(stored(MemoryContent(), data), [Mount("bind", str(made(tmp_path / "x")))], content_of(data))
    assert unpacked.layer == whole and unpacked.assumed == b""
    assert told[-1] == len(blob)
    assert sum(1 for path in memory_backed.rglob("*") if path.is_file()) == 300


async def test_a_layer_whose_rest_does_not_come(differ: WalkingDiffer, memory_backed: Path, tmp_path: Path) -> None:
    blob = compressed(layer(lambda made: made.add("f", os.urandom(1 << 20))), GZIP)
    download = Download(tmp_path / "blob", blob, stop=len(blob) // 2).start()
    described = Descriptor(GZIP, "sha256:" + "0" * 64, len(blob))
    with pytest.raises(Unavailable, match="the rest did not come"):
        differ.unpack(described, [Mount("bind", str(memory_backed))], download.arrival)
    download.join()
    with pytest.raises(Unavailable, match="not on its way"):
        differ.unpack(described, [Mount("bind", str(memory_backed))], download.arrival)


async def test_a_hostile_layer_is_refused_before_it_is_all_there(
    differ: WalkingDiffer, memory_backed: Path, tmp_path: Path
) -> None:
    def fill(made: Layer) -> None:
        made.add("../out")
        made.add("dev", kind=tarfile.CHRTYPE, devmajor=1 << 20)
        made.add("f", os.urandom(4 << 20))

    blob = compressed(layer(fill), GZIP)
    download = Download(tmp_path / "blob", blob).start()
    described = Descriptor(GZIP, "sha256:" + "0" * 64, len(blob))
    with pytest.raises(InvalidArgument, match="leads upwards"):
        differ.unpack(described, [Mount("bind", str(memory_backed))], download.arrival)
    download.join()
    assert os.listdir(memory_backed) == []


def made(path: Path) -> Path:
    path.mkdir()
    return path


def content_of(data: bytes) -> MemoryContent:
    content = MemoryContent()
    stored(content, data)
    return content
