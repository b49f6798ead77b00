"""Leases and what they hold."""

from corten.api.services.leases.v1 import leases_pb2 as pb
from corten.contracts.objects import Lease, Resource

from .values import time_of, timestamp


def lease(message: pb.Lease) -> Lease:
    return Lease(message.id, dict(message.labels), time_of(message.created_at))


def lease_message(value: Lease) -> pb.Lease:
    return pb.Lease(id=value.id, created_at=timestamp(value.created_at), labels=dict(value.labels))


def resource(message: pb.Resource) -> Resource:
    return Resource(id=message.id, type=message.type)


def resource_message(value: Resource) -> pb.Resource:
    return pb.Resource(id=value.id, type=value.type)
