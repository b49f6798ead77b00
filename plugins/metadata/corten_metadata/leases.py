"""Leases and what they hold."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from corten import filters as filter_rules
from corten import labels as label_rules
from corten.contracts.objects import Lease, Resource
from corten.errors import AlreadyExists, ResourceExhausted

from . import resources, rows, schema
from .common import Common
from .expiry import expires_at
from .records import LeaseRecord
from .transactions import Writing


class Leases:
    """Fulfils `LeaseStore`; `collect` runs a collection for a deletion that is to be waited for.

    A namespace has at most `max_leases`; 0 for any number.
    """

    def __init__(self, common: Common, collect: Callable[[], object], max_leases: int = 0) -> None:
        self._common = common
        self._collect = collect
        self._max = max_leases
        # At least as many as a namespace has: counted when they seem to be too many, for they are a walk to count.
        self._at_most: dict[str, int] = {}

    def create(self, namespace: str, id: str = "", labels: Mapping[str, str] | None = None) -> Lease:
        label_rules.validate(labels or {})
        id = id or uuid.uuid4().hex
        kept = label_rules.kept(labels or {})
        record = LeaseRecord(self._common.store.number(), time.time_ns(), kept)

        def work(txn: Writing) -> None:
            if rows.leases(namespace).get(txn, id) is not None:
                raise AlreadyExists(f"lease {rows.shown(id)}: it exists already")
            self._count(txn, namespace, id)
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

    def _count(self, txn: Writing, namespace: str, id: str) -> None:
        """One more lease; called by the writer thread alone. Raises ResourceExhausted."""
        if not self._max:
            return
        known = self._at_most.get(namespace, self._max)
        if known >= self._max:
            known = txn.count(rows.leases(namespace).head)
        if known >= self._max:
            raise ResourceExhausted(
                f"lease {rows.shown(id)}: namespace {namespace!r} has {known} leases, the most that it may have "
                "(delete some, or raise max_leases)"
            )
        self._at_most[namespace] = known + 1


def _lease(id: str, record: LeaseRecord) -> Lease:
    return Lease(id, record.labels, record.created_at)


def _field(lease: Lease, path: Sequence[str]) -> str | None:
    match path:
        case ["id"]:
            return lease.id
        case ["labels", *key]:
            return lease.labels.get(".".join(key))
    return None
