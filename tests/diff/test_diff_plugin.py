"""The differ as a plugin, and how the worker chooses where to write."""

from pathlib import Path

import pytest
from corten.contracts.diff import Differ
from corten.contracts.mounts import Mount
from corten.errors import InvalidArgument
from corten.testing.context import FakeContext
from corten.testing.memory_content import MemoryContent
from corten.testing.trees import layer, stored
from corten.zygote.client import Zygote
from corten_differs.entering import Destination, destination
from corten_differs.pack import guide
from corten_differs.registration import WalkingConfig, walking

OVERLAY = Mount("overlay", "overlay", options=("index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b"))


@pytest.mark.integration
def test_the_plugin_starts_with_its_settings(workers: Zygote, memory_backed: Path, tmp_path: Path) -> None:
    registration = walking()
    config = WalkingConfig(max_ratio=1, ratio_free_bytes=0)
    context = FakeContext(
        tmp_path / "root", tmp_path / "state", registration=registration, config=config, workers=workers
    )
    differ: Differ = registration.init(context)  # type: ignore[assignment]
    content = MemoryContent()
    from corten.testing.trees import GZIP, compressed

    blob = stored(content, compressed(layer(lambda made: made.add("f", bytes(10_000))), GZIP), GZIP)
    with pytest.raises(InvalidArgument, match="max_ratio = 1"):
        differ.apply(blob, [Mount("bind", str(memory_backed), options=("rw",))], content)
    assert (tmp_path / "state" / "mount").is_dir()


def test_what_needs_no_mount() -> None:
    assert destination([Mount("bind", "/s", options=("rw", "rbind"))], False) == Destination("/s")
    assert destination([OVERLAY], False) == Destination("/u", ("/a", "/b"), ("index=off",))
    for mounts, inside in (
        ([OVERLAY], True),
        ([Mount("bind", "/s", options=("ro", "rbind"))], False),
        ([Mount("bind", "/s", "target", ("rw",))], False),
        ([Mount("ext4", "/dev/sda")], False),
        ([OVERLAY, OVERLAY], False),
        ([Mount("overlay", "overlay", options=("lowerdir=/a:/b",))], False),
    ):
        assert destination(mounts, inside) == Destination()


def test_when_an_upper_directory_guides_the_walk() -> None:
    below = Mount("overlay", "overlay", options=("lowerdir=/a:/b",))
    bind = Mount("bind", "/a", options=("ro", "rbind"))
    one = Mount("overlay", "overlay", options=("workdir=/w", "upperdir=/u", "lowerdir=/a"))
    assert guide([below], [OVERLAY]) == b"/u"
    assert guide([bind], [one]) == b"/u"
    assert guide([bind], [OVERLAY]) is None
    assert guide([below], [one]) is None
    assert guide([], [OVERLAY]) is None
    assert guide([below], [below]) is None
