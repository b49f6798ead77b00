"""The figures in what a shim told of a container's cgroup."""

from collections.abc import Iterable

from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from google.protobuf.message import Message

from . import cgroups_v1, cgroups_v2
from .figures import Figure


def figures(type_url: str, value: bytes) -> Iterable[tuple[Figure, tuple[str, ...], float]]:
    """What a shim told, figure by figure; nothing for a message that is neither of cgroup v1 nor of v2."""
    message: Message
    name = type_url.rpartition("/")[2]
    if name == v1.Metrics.DESCRIPTOR.full_name:
        message, known = v1.Metrics.FromString(value), cgroups_v1.FIGURES
    elif name == v2.Metrics.DESCRIPTOR.full_name:
        message, known = v2.Metrics.FromString(value), cgroups_v2.FIGURES
    else:
        return
    for figure in known:
        for labels, number in figure.read(message):
            yield figure, labels, number
