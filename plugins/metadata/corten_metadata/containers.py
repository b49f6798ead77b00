"""Containers of one scope."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from corten import fieldpaths as masks
from corten import filters as filter_rules
from corten import identifiers
from corten import labels as label_rules
from corten.api.events.container_pb2 import ContainerCreate, ContainerDelete, ContainerUpdate
from corten.contracts.objects import AnyValue, Container
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, InvalidArgument, NotFound
from google.protobuf.any_pb2 import Any as AnyMessage

from . import rows
from .common import Common
from .transactions import Writing

_FIELDS = ("labels", "spec", "extensions", "image", "snapshotkey")
_MAPS = ("labels", "extensions")


class Containers:
    """Fulfils `ContainerStore`."""

    def __init__(self, common: Common, scope: Scope) -> None:
        self._common = common
        self._scope = scope
        self._rows = rows.containers(scope.namespace)

    def create(self, container: Container) -> Container:
        _validate(container)
        now = time.time_ns()
        made = replace(container, labels=label_rules.kept(container.labels), created_at=now, updated_at=now)

        def work(txn: Writing) -> None:
            if self._rows.get(txn, made.id) is not None:
                raise AlreadyExists(f"container {made.id!r}: it exists already")
            rows.touch(txn, self._scope.namespace)
            self._rows.put(txn, made.id, made)

        self._common.store.write(work)
        runtime = ContainerCreate.Runtime(name=made.runtime.name, options=_any(made.runtime.options))
        event = ContainerCreate(id=made.id, image=made.image, runtime=runtime)
        self._common.publish(self._scope.namespace, "/containers/create", event)
        return made

    def get(self, id: str) -> Container:
        with self._common.store.read() as view:
            return self._rows.require(view, id)

    def update(self, container: Container, fieldpaths: Sequence[str] = ()) -> Container:
        paths = masks.parse(fieldpaths, _FIELDS, _MAPS, f"container {container.id!r}")

        def work(txn: Writing) -> Container:
            old = self._rows.require(txn, container.id)
            if not fieldpaths:
                _check_immutable(old, container)
            updated = _merged(old, container, paths)
            _validate(updated)
            self._rows.put(txn, container.id, updated)
            return updated

        updated = self._common.store.write(work)
        event = ContainerUpdate(
            id=updated.id, image=updated.image, labels=updated.labels, snapshot_key=updated.snapshot_key
        )
        self._common.publish(self._scope.namespace, "/containers/update", event)
        return updated

    def delete(self, id: str) -> None:
        def work(txn: Writing) -> None:
            if not self._rows.delete(txn, id):
                raise NotFound(f"container {rows.shown(id)}: it does not exist")

        self._common.store.write(work, removes=True)
        self._common.publish(self._scope.namespace, "/containers/delete", ContainerDelete(id=id))

    def walk(self, filters: Sequence[str] = ()) -> Iterator[Container]:
        matches = filter_rules.compile(filters)
        for each in self._rows.walk(self._common.store):
            if matches(partial(_field, each)):
                yield each


def _merged(old: Container, new: Container, paths: Sequence[masks.FieldPath]) -> Container:
    """The container after an update, by the field mask."""
    labels = masks.merged(old.labels, new.labels, "labels", paths)
    return replace(
        old,
        labels=label_rules.kept(labels),
        extensions=masks.merged(old.extensions, new.extensions, "extensions", paths),
        spec=new.spec if masks.replaces(paths, "spec") else old.spec,
        image=new.image if masks.replaces(paths, "image") else old.image,
        snapshot_key=new.snapshot_key if masks.replaces(paths, "snapshotkey") else old.snapshot_key,
        updated_at=time.time_ns(),
    )


def _check_immutable(old: Container, new: Container) -> None:
    if old.snapshotter != new.snapshotter:
        raise InvalidArgument(
            f"container {old.id!r}: its snapshotter {old.snapshotter!r} cannot be changed to {new.snapshotter!r}"
        )
    if old.runtime.name != new.runtime.name:
        raise InvalidArgument(
            f"container {old.id!r}: its runtime {old.runtime.name!r} cannot be changed to {new.runtime.name!r}"
        )


def _validate(container: Container) -> None:
    """Raises InvalidArgument; the rules are containerd's."""
    identifiers.validate(container.id, "container")
    label_rules.validate(container.labels)
    what = f"container {container.id!r}"
    if "" in container.extensions:
        raise InvalidArgument(f"{what}: the name of an extension must not be empty")
    if not container.runtime.name:
        raise InvalidArgument(f"{what}: its runtime must have a name")
    if container.spec is None:
        raise InvalidArgument(f"{what}: it must have a spec")
    if container.snapshot_key and not container.snapshotter:
        raise InvalidArgument(f"{what}: with a snapshot key it must name the snapshotter too")


def _any(value: AnyValue | None) -> AnyMessage | None:
    return None if value is None else AnyMessage(type_url=value.type_url, value=value.value)


def _field(container: Container, path: Sequence[str]) -> str | None:
    match path:
        case ["id"]:
            return container.id
        case ["image"]:
            return container.image or None
        case ["runtime", "name"]:
            return container.runtime.name or None
        case ["labels", *key]:
            return container.labels.get(".".join(key))
    return None
