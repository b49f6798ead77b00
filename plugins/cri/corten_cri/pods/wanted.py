"""What a pod's request means for its namespaces and sysctls, decided purely; what contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Iterable

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument

from ..config.runtime import RuntimeConfig
from ..namespaces.model import IdMap

PORTS = "net.ipv4.ip_unprivileged_port_start"
PINGS = "net.ipv4.ping_group_range"


def check(config: pb.PodSandboxConfig) -> None:
    """Raises InvalidArgument for a request without a name, or with text that would end up in files of the pod."""
    if not config.metadata.name:
        raise InvalidArgument("pod sandbox: the request has no metadata with a name")
    dns = config.dns_config
    for what, texts in (
        ("hostname", [config.hostname]),
        ("DNS server", dns.servers),
        ("DNS search domain", dns.searches),
        ("DNS option", dns.options),
    ):
        for text in texts:
            if any(letter.isspace() or not letter.isprintable() for letter in text):
                raise InvalidArgument(
                    f'pod sandbox "{config.metadata.name}": {what} {text!r} has a space or worse in it'
                )
    if config.hostname and config.linux.security_context.namespace_options.network == pb.NODE:
        raise InvalidArgument(
            f'pod sandbox "{config.metadata.name}": hostname {config.hostname!r}: a pod on the host\'s network has '
            "the host's name (leave it empty)"
        )
    for what, path in (("log_directory", config.log_directory), ("cgroup_parent", config.linux.cgroup_parent)):
        if ".." in path.split("/") or "\0" in path:
            raise InvalidArgument(f'pod sandbox "{config.metadata.name}": {what} {path!r} leads upwards')


def id_maps(namespaces: pb.NamespaceOption) -> tuple[tuple[IdMap, ...], tuple[IdMap, ...]]:
    """The maps of uids and gids of a pod; empty for one in the host's user namespace. Raises InvalidArgument."""
    if not namespaces.HasField("userns_options"):
        return (), ()
    options = namespaces.userns_options
    uids, gids = _map("uids", options.uids), _map("gids", options.gids)
    if options.mode == pb.NODE and (uids or gids):
        raise InvalidArgument("user namespace: mode NODE takes no id mappings")
    if options.mode == pb.POD and not (uids and gids):
        raise InvalidArgument("user namespace: mode POD needs a mapping of uids and one of gids")
    if options.mode not in (pb.NODE, pb.POD):
        raise InvalidArgument(f"user namespace: mode {pb.NamespaceMode.Name(options.mode)} is neither POD nor NODE")
    return uids, gids


def wants_user_namespace(namespaces: pb.NamespaceOption) -> bool:
    """Whether the pod is to have a user namespace of its own."""
    return namespaces.HasField("userns_options") and namespaces.userns_options.mode == pb.POD


def sysctls(config: pb.PodSandboxConfig, settings: RuntimeConfig) -> dict[str, str]:
    """Those of the request, and the safe ones that every pod with a network of its own gets."""
    namespaces = config.linux.security_context.namespace_options
    found: dict[str, str] = {}
    if namespaces.network != pb.NODE:
        if settings.enable_unprivileged_ports:
            found[PORTS] = "0"
        if settings.enable_unprivileged_icmp and not wants_user_namespace(namespaces):
            found[PINGS] = "0 2147483647"
    own = {name.replace("/", "."): value for name, value in config.linux.sysctls.items()}
    for name, value in own.items():
        if any(ord(letter) < 0x20 and letter != "\t" for letter in value) or "+" in name:
            raise InvalidArgument(f"sysctl {name}: its value {value!r} is not one line")
    return {**found, **own}


def _map(what: str, mappings: Iterable[pb.IDMapping]) -> tuple[IdMap, ...]:
    found = list(mappings)
    if len(found) > 1:
        raise InvalidArgument(f"user namespace: {len(found)} mappings of {what}: only one is supported")
    for each in found:
        if each.length < 1 or each.container_id + each.length > 1 << 32 or each.host_id + each.length > 1 << 32:
            raise InvalidArgument(f"user namespace: the mapping of {what} has a length of {each.length}")
    return tuple(IdMap(each.container_id, each.host_id, each.length) for each in found)


def id_labels(namespaces: pb.NamespaceOption) -> dict[str, str]:
    """How the snapshotter is to map the ids of files for a pod with a user namespace."""
    uids, gids = id_maps(namespaces)
    if not uids:
        return {}
    return {
        f"containerd.io/snapshot/{kind}mapping": f"{each.container}:{each.host}:{each.size}"
        for kind, each in (("uid", uids[0]), ("gid", gids[0]))
    }
