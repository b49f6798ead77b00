"""Leases and what they hold."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from corten import filters as filter_rules
from corten import labels as label_rules
from corten.contracts.objects import Lease, Resource
from corten.errors import AlreadyExists

from . import resources, rows, schema
from .common import Common
from .expiry import expires_at
from .records import LeaseRecord
from .transactions import Writing


class Leases:
    """Fulfils `LeaseStore`; `collect` runs a collection for a deletion that is to be waited for."""

    def __init__(self, common: Common, collect: Callable[[], object]) -> None:
        self._common = common
        self._collect = collect

    def create(self, namespace: str, id: str = "", labels: Mapping[str, str] | None = None) -> Lease:
        label_rules.validate(labels or {})
        id = id or uuid.uuid4().hex
        kept = label_rules.kept(labels or {})
        record = LeaseRecord(self._common.store.number(), time.time_ns(), kept)

        def work(txn: Writing) -> None:
            if rows.leases(namespace).get(txn, id) is not None:
                raise AlreadyExists(f"lease {rows.shown(id)}: it exists already")
            rows.touch(txn, namespace)
            rows.leases(namespace).put(txn, id, record)

        self._common.store.write(work)
        self._common.alarm.note(expires_at(kept))
        return _lease(id, record)

    def get(self, namespace: str, id: str) -> Lease:
        with self._common.store.read() as view:
            return _lease(id, rows.leases(namespace).require(view, id))

    def delete(self, namespace: str, id: str, *, sync: bool = False) -> None:
        def work(txn: Writing) -> None:
            lease = rows.leases(namespace).require(txn, id)
            rows.leases(namespace).delete(txn, id)
            txn.clear(schema.leased(namespace, lease.number))

        self._common.store.write(work, removes=True)
        if sync:
            self._collect()

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Lease]:
        matches = filter_rules.compile(filters)
        with self._common.store.read() as view:
            all_ = [_lease(id, record) for id, record in rows.leases(namespace).all(view)]
        found = [lease for lease in all_ if matches(partial(_field, lease))]
        return sorted(found, key=lambda lease: lease.id.encode())

    def add(self, namespace: str, id: str, resource: Resource) -> None:
        def work(txn: Writing) -> None:
            resources.add(txn, namespace, rows.leases(namespace).require(txn, id), resource)

        self._common.store.write(work)

    def remove(self, namespace: str, id: str, resource: Resource) -> None:
        def work(txn: Writing) -> None:
            resources.drop(txn, namespace, rows.leases(namespace).require(txn, id), resource)

        self._common.store.write(work, removes=True)

    def resources(self, namespace: str, id: str) -> Sequence[Resource]:
        with self._common.store.read() as view:
            return list(resources.listed(view, namespace, rows.leases(namespace).require(view, id)))


def _lease(id: str, record: LeaseRecord) -> Lease:
    return Lease(id, record.labels, record.created_at)


def _field(lease: Lease, path: Sequence[str]) -> str | None:
    match path:
        case ["id"]:
            return lease.id
        case ["labels", *key]:
            return lease.labels.get(".".join(key))
    return None
