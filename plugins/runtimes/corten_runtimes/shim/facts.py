"""What the shim must know of an OCI spec; whoever starts it reads the spec and leaves this in the bundle."""

from collections.abc import Mapping
from typing import Any


def spec_facts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """`private_pids`: it has a pid namespace of its own; `plain`: besides, nothing is left to undo but cgroups."""
    namespaces = (spec.get("linux") or {}).get("namespaces") or []
    private = any(entry.get("type") == "pid" and not entry.get("path") for entry in namespaces)
    poststop = (spec.get("hooks") or {}).get("poststop")
    rdt = (spec.get("linux") or {}).get("intelRdt")
    return {"private_pids": private, "plain": private and not poststop and not rdt}
