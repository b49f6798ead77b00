"""Images of one scope: names for blobs."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from corten import digests
from corten import fieldpaths as masks
from corten import filters as filter_rules
from corten import labels as label_rules
from corten.api.events.image_pb2 import ImageCreate, ImageDelete, ImageUpdate
from corten.contracts.objects import Image
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, InvalidArgument, NotFound
from corten.gc_expiry import EXPIRE

from . import resources, rows
from .common import Common
from .expiry import expires_at
from .transactions import Writing

_FIELDS = ("labels", "target", "annotations")
_MAPS = ("labels", "annotations")


class Images:
    """Fulfils `ImageStore`."""

    def __init__(self, common: Common, scope: Scope) -> None:
        self._common = common
        self._scope = scope
        self._rows = rows.images(scope.namespace)

    def create(self, image: Image, *, source_date_epoch: int | None = None) -> Image:
        _validate(image)
        now = time.time_ns() if source_date_epoch is None else source_date_epoch
        made = replace(image, labels=label_rules.kept(image.labels), created_at=now, updated_at=now)

        def work(txn: Writing) -> None:
            if self._rows.get(txn, made.name) is not None:
                raise AlreadyExists(f"image {rows.shown(made.name)}: it exists already")
            rows.touch(txn, self._scope.namespace)
            self._join(txn, made)
            self._rows.put(txn, made.name, made)

        self._common.store.write(work)
        self._common.alarm.note(expires_at(made.labels))
        event = ImageCreate(name=made.name, labels=made.labels)
        self._common.publish(self._scope.namespace, "/images/create", event)
        return made

    def get(self, name: str) -> Image:
        with self._common.store.read() as view:
            return self._rows.require(view, name)

    def update(self, image: Image, fieldpaths: Sequence[str] = (), *, source_date_epoch: int | None = None) -> Image:
        paths = masks.parse(fieldpaths, _FIELDS, _MAPS, f"image {rows.shown(image.name)}")
        now = time.time_ns() if source_date_epoch is None else source_date_epoch

        def work(txn: Writing) -> Image:
            old = self._rows.require(txn, image.name)
            updated = replace(_merged(old, image, paths, whole=not fieldpaths), updated_at=now)
            _validate(updated)
            self._join(txn, updated)
            self._rows.put(txn, image.name, updated)
            return updated

        updated = self._common.store.write(work)
        self._common.alarm.note(expires_at(updated.labels))
        event = ImageUpdate(name=updated.name, labels=updated.labels)
        self._common.publish(self._scope.namespace, "/images/update", event)
        return updated

    def delete(self, name: str, *, target_digest: str = "") -> None:
        def work(txn: Writing) -> None:
            old = self._rows.require(txn, name)
            if target_digest and old.target.digest != target_digest:
                raise NotFound(f"image {rows.shown(name)}: its target is {old.target.digest}, not {target_digest}")
            resources.leave(txn, self._scope, resources.IMAGES, name)
            self._rows.delete(txn, name)

        self._common.store.write(work, removes=True)
        self._common.publish(self._scope.namespace, "/images/delete", ImageDelete(name=name))

    def walk(self, filters: Sequence[str] = ()) -> Iterator[Image]:
        matches = filter_rules.compile(filters)
        for each in self._rows.walk(self._common.store):
            if matches(partial(_field, each)):
                yield each

    def _join(self, txn: Writing, image: Image) -> None:
        """An image that expires needs the lease; any other lives without."""
        if EXPIRE in image.labels:
            resources.join(txn, self._scope, resources.IMAGES, image.name)


def _merged(old: Image, new: Image, paths: Sequence[masks.FieldPath], *, whole: bool) -> Image:
    """The image after an update, by the field mask."""
    target = new.target if masks.replaces(paths, "target") else old.target
    annotations = new.target.annotations
    if not whole:
        annotations = masks.merged(target.annotations, annotations, "annotations", paths)
    labels = label_rules.kept(masks.merged(old.labels, new.labels, "labels", paths))
    return replace(old, target=replace(target, annotations=annotations), labels=labels)


def _validate(image: Image) -> None:
    """Raises InvalidArgument; the rules are containerd's."""
    what = f"image {rows.shown(image.name)}"
    if not image.name:
        raise InvalidArgument("image: its name must not be empty")
    label_rules.validate(image.labels)
    digests.parse(image.target.digest)
    if image.target.size <= 0:
        raise InvalidArgument(f"{what}: the size of its target must be greater than 0")
    if not image.target.media_type:
        raise InvalidArgument(f"{what}: its target must have a media type")


def _field(image: Image, path: Sequence[str]) -> str | None:
    match path:
        case ["name"]:
            return image.name
        case ["target", "digest"]:
            return image.target.digest
        case ["target", "mediatype"]:
            return image.target.media_type
        case ["labels", *key]:
            return image.labels.get(".".join(key))
        case ["annotations", *key]:
            return image.target.annotations.get(".".join(key))
    return None
