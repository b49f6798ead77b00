"""The namespaces of a pod as the runtime is told to join them. Pure."""

from dataclasses import replace

from corten.oci.options import IdMapping, Namespaces

from ..namespaces.model import IdMap
from ..state.pods import Pod
from . import wanted


def namespaces_of(pod: Pod, own: Namespaces) -> Namespaces:
    """`own` with the pod's network, ipc, uts and user namespaces: its pins, or the host's where it has none."""
    uids, gids = wanted.id_maps(pod.namespaces)
    pins = pod.pins
    return replace(
        own,
        network=pins.net or None,
        ipc=pins.ipc or None,
        uts=pins.uts or None,
        user=pins.user or None,
        uid_mappings=mappings(uids),
        gid_mappings=mappings(gids),
    )


def mappings(maps: tuple[IdMap, ...]) -> tuple[IdMapping, ...]:
    """The same as the spec builder has them."""
    return tuple(IdMapping(each.container, each.host, each.size) for each in maps)
