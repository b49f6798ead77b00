"""The state of things in requests that each fit into one message."""

from collections.abc import Iterator, Sequence

from corten.api.nri.v1alpha1 import nri_pb2 as pb

MAX_BYTES = 3 << 20
"""Of one request: a ttrpc message has at most 4 MiB."""


def split(pods: Sequence[pb.PodSandbox], containers: Sequence[pb.Container]) -> Iterator[pb.SynchronizeRequest]:
    """At least one request; `more` is set in all but the last."""
    request, size = pb.SynchronizeRequest(), 0
    for each in (*pods, *containers):
        grown = each.ByteSize() + 8
        if size and size + grown > MAX_BYTES:
            request.more = True
            yield request
            request, size = pb.SynchronizeRequest(), 0
        (request.pods if isinstance(each, pb.PodSandbox) else request.containers).append(each)  # type: ignore[arg-type]
        size += grown
    yield request
