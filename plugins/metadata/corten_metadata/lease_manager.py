"""The lease plugin: the metadata store's leases, with deletions that wait for the scheduled collection."""

from collections.abc import Mapping, Sequence

from corten.contracts.gc import Collector
from corten.contracts.leases import LeaseStore
from corten.contracts.objects import Lease, Resource


class LeaseManager:
    """Fulfils `LeaseStore`."""

    def __init__(self, leases: LeaseStore, collector: Collector) -> None:
        self._leases = leases
        self._collector = collector

    def create(self, namespace: str, id: str = "", labels: Mapping[str, str] | None = None) -> Lease:
        return self._leases.create(namespace, id, labels)

    def get(self, namespace: str, id: str) -> Lease:
        return self._leases.get(namespace, id)

    def delete(self, namespace: str, id: str, *, sync: bool = False) -> None:
        self._leases.delete(namespace, id)
        if sync:
            self._collector.schedule_and_wait()

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Lease]:
        return self._leases.list(namespace, filters)

    def add(self, namespace: str, id: str, resource: Resource) -> None:
        self._leases.add(namespace, id, resource)

    def remove(self, namespace: str, id: str, resource: Resource) -> None:
        self._leases.remove(namespace, id, resource)

    def resources(self, namespace: str, id: str) -> Sequence[Resource]:
        return self._leases.resources(namespace, id)
