"""Registers the plugin `io.containerd.content.v1.content`, blobs on the local file system."""

from corten.contracts.content import ContentStore
from corten.plugin.model import PluginContext, Registration
from corten.plugin.types import CONTENT
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class ContentConfig:
    """Settings of the local content store."""

    max_open_writers: int = 4096
    """How many ingests may be open for writing at once; each takes a file descriptor."""


def plugin() -> Registration:
    """The entry point."""
    return Registration(
        type=CONTENT,
        id="content",
        init=_init,
        config=ContentConfig,
        summary="Stores blobs as files under their digest, in containerd's layout",
    )


def _init(context: PluginContext) -> ContentStore:
    from ._local import LocalContent

    context.export("root", str(context.root))
    store = LocalContent(context.root, max_open_writers=context.config_as(ContentConfig).max_open_writers)
    store.recover()
    return store
