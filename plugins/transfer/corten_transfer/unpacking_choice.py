"""Which differ unpacks an image for a snapshotter: what `unpack_config` says, or the diff service's own order."""

from collections.abc import Mapping, Sequence

from corten import platforms
from corten.contracts.diff import Differ
from corten.errors import InvalidArgument
from corten.platforms import rank
from corten.registry.tree import FetchedManifest

from .config import UnpackConfig


class UnpackChoice:
    """`differs` are the plugins by id, `default` is the service that asks them in their order."""

    def __init__(
        self, entries: Sequence[UnpackConfig], differs: Mapping[str, Differ], default: Differ, exact: bool = False
    ) -> None:
        self._entries = entries
        self._differs = differs
        self._default = default
        self._exact = exact

    def differ(self, snapshotter: str, image: FetchedManifest) -> Differ:
        """Raises InvalidArgument if there are entries, and none is for this snapshotter and image."""
        if not self._entries:
            return self._default
        for entry in self._entries:
            if entry.snapshotter == snapshotter and self._matches(entry, image):
                return self._differs[entry.differ] if entry.differ else self._default
        said = ", ".join(f"{entry.snapshotter} for {entry.platform or 'this host'}" for entry in self._entries)
        raise InvalidArgument(
            f"image {image.descriptor.digest}: unpack_config has nothing for snapshotter {snapshotter} and it ({said})"
        )

    def _matches(self, entry: UnpackConfig, image: FetchedManifest) -> bool:
        assert image.config is not None
        if entry.config_type not in ("", image.manifest.config.media_type):
            return False
        if entry.layer_types and any(each.media_type not in entry.layer_types for each in image.manifest.layers):
            return False
        wanted, made_for = _platform(entry), image.config.platform
        return rank(wanted, made_for) is not None if self._exact else wanted.os == made_for.os


def checked(
    entries: Sequence[UnpackConfig], snapshotters: Mapping[str, object], differs: Mapping[str, object], what: str
) -> list[UnpackConfig]:
    """Those whose plugins are there. Raises InvalidArgument for others that are not optional."""
    kept = []
    for entry in entries:
        _platform(entry)
        missing = [] if entry.snapshotter in snapshotters else [f"snapshotter {entry.snapshotter!r}"]
        if entry.differ and entry.differ not in differs:
            missing.append(f"differ {entry.differ!r}")
        if missing and not entry.optional:
            raise InvalidArgument(
                f"{what}: unpack_config names {' and '.join(missing)}, not there (set optional: true)"
            )
        if not missing:
            kept.append(entry)
    return kept


def _platform(entry: UnpackConfig) -> platforms.Platform:
    return platforms.parse(entry.platform) if entry.platform else platforms.host()
