"""Which image of an index is the one for a platform."""

from corten.contracts.descriptor import Descriptor
from corten.errors import NotFound
from corten.platforms import Platform, best

from . import media_types
from .model import Index, IndexEntry


def choose(index: Index, platform: Platform, what: str) -> Descriptor:
    """The best fit; an entry without platform only if no other fits (it may be a nested index, or the only image).

    Raises NotFound, naming the platforms that there are.
    """
    images = [entry for entry in index.entries if _is_image(entry)]
    fitting = best(platform, [(entry.platform, entry.descriptor) for entry in images if entry.platform])
    if fitting is None:
        fitting = next((entry.descriptor for entry in images if entry.platform is None), None)
    if fitting is None:
        offered = ", ".join(str(entry.platform) for entry in images) or "none"
        raise NotFound(f"{what}: there is no image for {platform}, only for: {offered}")
    return fitting


def _is_image(entry: IndexEntry) -> bool:
    unknown = entry.platform is not None and entry.platform.os == "unknown"
    kind = media_types.kind(entry.descriptor.media_type)
    return kind in ("index", "manifest") and not entry.is_attestation and not unknown
