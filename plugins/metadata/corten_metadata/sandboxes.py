"""Sandboxes (pods) as records, for all namespaces."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from corten import fieldpaths as masks
from corten import filters as filter_rules
from corten import identifiers
from corten import labels as label_rules
from corten.contracts.objects import Sandbox
from corten.errors import AlreadyExists, InvalidArgument, NotFound

from . import rows
from .common import Common
from .transactions import Writing

_FIELDS = ("labels", "extensions", "spec", "runtime")
_MAPS = ("labels", "extensions")


class Sandboxes:
    """Fulfils `SandboxStore`."""

    def __init__(self, common: Common) -> None:
        self._common = common

    def create(self, namespace: str, sandbox: Sandbox) -> Sandbox:
        _validate(sandbox)
        now = time.time_ns()
        made = replace(sandbox, labels=label_rules.kept(sandbox.labels), created_at=now, updated_at=now)

        def work(txn: Writing) -> None:
            if rows.sandboxes(namespace).get(txn, made.id) is not None:
                raise AlreadyExists(f"sandbox {made.id!r}: it exists already")
            rows.touch(txn, namespace)
            rows.sandboxes(namespace).put(txn, made.id, made)

        self._common.store.write(work)
        return made

    def get(self, namespace: str, id: str) -> Sandbox:
        with self._common.store.read() as view:
            return rows.sandboxes(namespace).require(view, id)

    def update(self, namespace: str, sandbox: Sandbox, fieldpaths: Sequence[str] = ()) -> Sandbox:
        paths = masks.parse(fieldpaths, _FIELDS, _MAPS, f"sandbox {sandbox.id!r}")

        def work(txn: Writing) -> Sandbox:
            old = rows.sandboxes(namespace).require(txn, sandbox.id)
            if not fieldpaths and old.runtime.name != sandbox.runtime.name:
                raise InvalidArgument(f"sandbox {sandbox.id!r}: its runtime {old.runtime.name!r} cannot be changed")
            updated = _merged(old, sandbox, paths)
            _validate(updated)
            rows.sandboxes(namespace).put(txn, sandbox.id, updated)
            return updated

        return self._common.store.write(work)

    def delete(self, namespace: str, id: str) -> None:
        def work(txn: Writing) -> None:
            if not rows.sandboxes(namespace).delete(txn, id):
                raise NotFound(f"sandbox {rows.shown(id)}: it does not exist")

        self._common.store.write(work, removes=True)

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Sandbox]:
        matches = filter_rules.compile(filters)
        all_ = rows.sandboxes(namespace).walk(self._common.store)
        return [each for each in all_ if matches(partial(_field, each))]


def _merged(old: Sandbox, new: Sandbox, paths: Sequence[masks.FieldPath]) -> Sandbox:
    """The sandbox after an update, by the field mask."""
    return replace(
        old,
        labels=label_rules.kept(masks.merged(old.labels, new.labels, "labels", paths)),
        extensions=masks.merged(old.extensions, new.extensions, "extensions", paths),
        spec=new.spec if masks.replaces(paths, "spec") else old.spec,
        runtime=new.runtime if masks.replaces(paths, "runtime") else old.runtime,
        updated_at=time.time_ns(),
    )


def _validate(sandbox: Sandbox) -> None:
    """Raises InvalidArgument."""
    identifiers.validate(sandbox.id, "sandbox")
    label_rules.validate(sandbox.labels)
    if "" in sandbox.extensions:
        raise InvalidArgument(f"sandbox {sandbox.id!r}: the name of an extension must not be empty")


def _field(sandbox: Sandbox, path: Sequence[str]) -> str | None:
    match path:
        case ["id"]:
            return sandbox.id
        case ["labels", *key]:
            return sandbox.labels.get(".".join(key))
    return None
