"""The plugin as the kernel starts it."""

from pathlib import Path

from corten.errors import ResourceExhausted
from corten.testing.content import fails, put
from corten.testing.context import FakeContext
from corten_content._local import LocalContent
from corten_content.registration import ContentConfig, plugin


def test_the_plugin_starts_in_its_root(tmp_path: Path) -> None:
    registration = plugin()
    assert registration.uri == "io.containerd.content.v1.content"
    context = FakeContext(tmp_path / "root", tmp_path / "state", config=ContentConfig(max_open_writers=1))
    store = registration.init(context)
    assert isinstance(store, LocalContent)
    assert context.exports["root"] == str(context.root)
    digest = put(store, b"x")
    assert (context.root / "blobs/sha256" / digest.removeprefix("sha256:")).exists()
    with store.writer("a"):
        fails(ResourceExhausted, store.writer, "b")
