"""Images in memory, by id and by name; pure bookkeeping, used on the event loop."""

from bisect import bisect_left
from collections.abc import Iterator

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument, NotFound

from .image import CriImage

_SHORTEST = 1


class ImageIndex:
    """Every name points to an image; an image without a name is gone."""

    def __init__(self) -> None:
        self._names: dict[str, CriImage] = {}
        self._ids: dict[str, dict[str, CriImage]] = {}
        self._targets: dict[str, dict[str, CriImage]] = {}
        self._merged: dict[str, CriImage] = {}
        self._messages: dict[str, pb.Image] = {}
        self._sorted: list[str] | None = None

    def __repr__(self) -> str:
        return f"ImageIndex({len(self._ids)} images, {len(self._names)} names)"

    def __iter__(self) -> Iterator[CriImage]:
        return iter([self._of(id) for id in self._ids])

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def names(self) -> list[str]:
        return list(self._names)

    def record(self, name: str) -> CriImage | None:
        """What was last put under a name."""
        return self._names.get(name)

    def of_target(self, digest: str) -> CriImage | None:
        """One that a name with this target points to."""
        return next((image for image in self._targets.get(digest, {}).values()), None)

    def put(self, name: str, image: CriImage) -> None:
        """Let a name point to an image."""
        self.drop(name)
        self._names[name] = image
        self._targets.setdefault(image.target.digest, {})[name] = image
        if image.id not in self._ids:
            self._ids[image.id] = {}
            self._sorted = None
        self._ids[image.id][name] = image
        self._changed(image.id)

    def drop(self, name: str) -> None:
        """Forget a name; harmless if it is not known."""
        if (image := self._names.pop(name, None)) is None:
            return
        self._changed(image.id)
        targets = self._targets[image.target.digest]
        del targets[name]
        if not targets:
            del self._targets[image.target.digest]
        names = self._ids[image.id]
        del names[name]
        if not names:
            del self._ids[image.id]
            self._sorted = None

    def message(self, image: CriImage) -> pb.Image:
        """`image.message()`, made once for as long as the image has these names."""
        if self._merged.get(image.id) is not image:
            return image.message()
        made = self._messages.get(image.id)
        if made is None:
            made = self._messages[image.id] = image.message()
        return made

    def by_name(self, name: str) -> CriImage | None:
        """The image that a full name points to."""
        image = self._names.get(name)
        return self._of(image.id) if image else None

    def known(self, id: str) -> CriImage | None:
        """By whole id."""
        return self._of(id) if id in self._ids else None

    def by_id(self, text: str) -> CriImage:
        """By a whole id or the beginning of one. Raises NotFound, InvalidArgument if several begin so."""
        if text in self._ids:
            return self._of(text)
        prefix = text if ":" in text else f"sha256:{text}"
        if len(text) < _SHORTEST or prefix == "sha256:":
            raise NotFound(f"image {text!r}: there is none")
        if self._sorted is None:
            self._sorted = sorted(self._ids)
        at = bisect_left(self._sorted, prefix)
        found = [id for id in self._sorted[at : at + 2] if id.startswith(prefix)]
        if len(found) > 1:
            raise InvalidArgument(f"image {text!r}: several ids begin so; write more of it")
        if not found:
            raise NotFound(f"image {text!r}: there is none")
        return self._of(found[0])

    def _changed(self, id: str) -> None:
        self._merged.pop(id, None)
        self._messages.pop(id, None)

    def _of(self, id: str) -> CriImage:
        merged = self._merged.get(id)
        if merged is None:
            named = self._ids[id]
            merged = next(iter(named.values())).known_as(
                tuple(sorted(named)), any(image.pinned for image in named.values())
            )
            self._merged[id] = merged
        return merged
