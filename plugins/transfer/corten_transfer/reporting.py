"""What is told of a transfer, in containerd's words: a tree of items by their ingest refs, each with its last event."""

import logging
from collections.abc import Mapping, Sequence

from corten.contracts.descriptor import Descriptor
from corten.contracts.transfer import WARNING, ShowTransfer, TransferProgress
from corten.oci_image import media_types
from corten.registry.progress import Progress, State

log = logging.getLogger(__name__)
_EVENTS: Mapping[State, str] = {State.WAITING: "waiting", State.DONE: "complete", State.EXISTS: "already exists"}

_HERE = (State.DONE, State.EXISTS)


def ref(descriptor: Descriptor) -> str:
    return media_types.ref_key(descriptor.media_type, descriptor.digest)


class Report:
    """The items of one transfer below `root`; `moving` is the word for those under way."""

    def __init__(self, show: ShowTransfer, moving: str = "downloading") -> None:
        self._show = show
        self._moving = moving
        self._root: tuple[str, ...] = ()
        self._items: dict[str, Descriptor] = {}
        self._parents: dict[str, list[str]] = {}
        self._arriving: set[str] = set()

    def say(self, event: str, name: str = "", descriptor: Descriptor | None = None) -> None:
        """An event of the whole transfer, or, with a name, of an image."""
        self._show(TransferProgress(event, name, descriptor=descriptor))

    def warning(self, host: str, text: str) -> None:
        """A registry says something for people."""
        log.warning("registry %s: %s", host, text)
        self.say(f"{WARNING} from registry {host}: {text}")

    def done(self, event: str, each: str, names: Sequence[str], target: Descriptor) -> None:
        """The end of the whole, then an event of each name: ctr shows the first only when another comes."""
        self.say(event, descriptor=target)
        for name in names:
            self.say(each, name, target)

    def root(self, name: str, target: Descriptor) -> None:
        """The image that all items are part of."""
        self._root = (name,)
        self._add(target)

    def found(self, parent: Descriptor, children: Sequence[Descriptor]) -> None:
        """The children of a document, which are on their way now."""
        for child in children:
            parents = self._parents.setdefault(child.digest, [])
            if ref(parent) not in parents:
                parents.append(ref(parent))
            self._add(child)

    def blob(self, progress: Progress) -> None:
        """What the registry client tells of a blob."""
        if (item := self._items.get(progress.digest)) is None:
            return
        (self._arriving.discard if progress.state in _HERE else self._arriving.add)(item.digest)
        self._tell(_EVENTS.get(progress.state, self._moving), item, progress.offset)

    def layer(self, event: str, item: Descriptor, offset: int) -> None:
        """The unpacking of a layer: `extracting` or `extracted`; while it still arrives, that is what is told."""
        if item.digest not in self._arriving or event == "extracted":
            self._tell(event, item, offset)

    def _add(self, item: Descriptor) -> None:
        if item.digest not in self._items:
            self._items[item.digest] = item
            self._tell("waiting", item, 0)

    def _tell(self, event: str, item: Descriptor, offset: int) -> None:
        parents = tuple(self._parents.get(item.digest, ())) or self._root
        self._show(TransferProgress(event, ref(item), parents, offset, item.size, item))
