"""Results of plugins: read in any version, given on in the version of the network, summed up for a pod.

Within a version nothing is dropped that a plugin said, known or not. Between versions (sections 5 of the
specifications): 0.1 and 0.2 have one address of each family, 0.3 and 0.4 tell the family of an address, 1.x does not.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corten.errors import InvalidArgument
from corten.values import dataclass

from . import versions

Result = Mapping[str, Any]
DEFAULT_INTERFACE = "eth0"


@dataclass(frozen=True, slots=True)
class Address:
    """An address that a pod got."""

    interface: str
    ip: str
    gateway: str = ""


def read(document: object, version: str, plugin: str) -> dict[str, Any]:
    """A result as `plugin` printed it; without a version of its own it has `version`. Raises InvalidArgument."""
    if not isinstance(document, dict):
        raise InvalidArgument(f"CNI plugin {plugin}: its result must be a JSON object, and is {document!r:.100}")
    found = {**document, "cniVersion": document.get("cniVersion") or version or versions.OLDEST}
    if found["cniVersion"] not in versions.KNOWN:
        raise InvalidArgument(f"CNI plugin {plugin}: result of the unknown version {found['cniVersion']!r}")
    _check(found, plugin)
    return found


def convert(result: Result, version: str) -> dict[str, Any]:
    """The same in another version of the specification."""
    version = version or versions.OLDEST
    if _family(str(result["cniVersion"])) == _family(version):
        return {**result, "cniVersion": version}
    current = to_current(result)
    match _family(version):
        case 0:
            return _to_oldest(current, version)
        case 1:
            return _to_0_4(current, version)
        case _:
            return {**current, "cniVersion": version}


def to_current(result: Result) -> dict[str, Any]:
    """In the form of 1.x."""
    match _family(str(result["cniVersion"])):
        case 0:
            return _from_oldest(result)
        case 1:
            ips = [{key: value for key, value in ip.items() if key != "version"} for ip in _list(result, "ips")]
            return {**result, "cniVersion": versions.CURRENT, "ips": ips}
        case _:
            return {**result, "cniVersion": versions.CURRENT}


def addresses(result: Result) -> Iterator[Address]:
    """Every address of a result, in its order; one that names no interface belongs to eth0."""
    current = to_current(result)
    interfaces = _list(current, "interfaces")
    for ip in _list(current, "ips"):
        index = ip.get("interface")
        name = interfaces[_index(index)]["name"] if index is not None else DEFAULT_INTERFACE
        yield Address(name, _ip(ip["address"]), ip.get("gateway") or "")


def choose(found: Sequence[str], preference: str) -> tuple[str, ...]:
    """Pod addresses with the main one first: the first IPv4 one ("ipv4" or ""), IPv6 one, or as they came ("cni")."""
    wanted = {"ipv4": 4, "": 4, "ipv6": 6}.get(preference)
    main = next((ip for ip in found if ipaddress.ip_address(ip).version == wanted), None)
    return tuple(found) if main is None else (main, *(ip for ip in found if ip is not main))


def describe(results: Sequence[Result], netns: str, loopback: bool) -> dict[str, Any]:
    """What the verbose status of a pod shows as `cniResult`, with the words that containerd uses there.

    `netns` is the pod's network namespace. `loopback`: the interface lo is told too; it is up in every pod, without a
    plugin.
    """
    interfaces: dict[str, dict[str, Any]] = {DEFAULT_INTERFACE: _interface({})}
    if loopback:
        local = [{"IP": "127.0.0.1", "Gateway": ""}, {"IP": "::1", "Gateway": ""}]
        interfaces["lo"] = {**_interface({"mac": "00:00:00:00:00:00", "sandbox": netns}), "IPConfigs": local}
    for result in results:
        for each in _list(to_current(result), "interfaces"):
            interfaces[each["name"]] = _interface(each)
        for address in addresses(result):
            held = interfaces.setdefault(address.interface, _interface({}))
            held["IPConfigs"] = [*(held["IPConfigs"] or ()), {"IP": address.ip, "Gateway": address.gateway}]
    current = [to_current(result) for result in results]
    return {
        "Interfaces": interfaces,
        "DNS": [result.get("dns") or {} for result in current],
        "Routes": [route for result in current for route in _list(result, "routes")] or None,
    }


def _interface(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "IPConfigs": None, "Mac": told.get("mac", ""), "Sandbox": told.get("sandbox", ""),
        "PciID": told.get("pciID", ""), "SocketPath": told.get("socketPath", ""),
    }  # fmt: skip


def _family(version: str) -> int:
    parsed = versions.parse(version)
    return 0 if parsed < (0, 3, 0) else 1 if parsed < (1, 0, 0) else 2


def _from_oldest(result: Result) -> dict[str, Any]:
    ips: list[dict[str, Any]] = []
    routes: list[Any] = []
    for key in ("ip4", "ip6"):
        if told := result.get(key):
            ips.append({"address": told["ip"], **({"gateway": told["gateway"]} if told.get("gateway") else {})})
            routes += told.get("routes") or []
    kept = {key: value for key, value in result.items() if key not in ("ip4", "ip6")}
    return {**kept, "cniVersion": versions.CURRENT, "ips": ips, "routes": routes}


def _to_oldest(current: Result, version: str) -> dict[str, Any]:
    made: dict[str, Any] = {"cniVersion": version, "dns": current.get("dns") or {}}
    for ip in _list(current, "ips"):
        key = f"ip{ipaddress.ip_interface(ip['address']).version}"
        if key not in made:
            made[key] = {"ip": ip["address"], **({"gateway": ip["gateway"]} if ip.get("gateway") else {})}
    for route in _list(current, "routes"):
        told = made.get(f"ip{ipaddress.ip_network(route['dst'], strict=False).version}")
        if told is not None:
            told.setdefault("routes", []).append(route)
    if not made.keys() & {"ip4", "ip6"}:
        raise InvalidArgument(f"CNI result: without an address it cannot be told in version {version}")
    return made


def _to_0_4(current: Result, version: str) -> dict[str, Any]:
    known = ("name", "mac", "sandbox")
    interfaces = [{key: each[key] for key in known if key in each} for each in _list(current, "interfaces")]
    ips = [{**ip, "version": str(ipaddress.ip_interface(ip["address"]).version)} for ip in _list(current, "ips")]
    made = {**current, "cniVersion": version, "ips": ips}
    return {**made, "interfaces": interfaces} if interfaces else made


def _check(result: Result, plugin: str) -> None:
    """Raise InvalidArgument for a result that would trip those who read it."""
    try:
        current = to_current(result)
        for address in addresses(current):
            ipaddress.ip_address(address.ip)
        for route in _list(current, "routes"):
            if not isinstance(route["dst"], str):
                raise TypeError("a route's dst must be a string")
            ipaddress.ip_network(route["dst"], strict=False)
        for interface in _list(current, "interfaces"):
            if not isinstance(interface["name"], str):
                raise TypeError("an interface's name must be a string")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InvalidArgument(
            f"CNI plugin {plugin}: its result is malformed: {type(error).__name__}: {error}"
        ) from None


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    return document.get(key) or []


def _index(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise IndexError(f"{value!r} is no number of an interface")
    return value


def _ip(address: Any) -> str:
    if not isinstance(address, str):
        # A number, even False, is an address for `ipaddress`.
        raise TypeError(f"the address {address!r} must be a string")
    return str(ipaddress.ip_interface(address).ip)
