"""Runtime handlers at work: what the runtime is given for one, and what that runtime can do on this host."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from corten.api.types import introspection_pb2
from corten.api.types.runc.options import oci_pb2
from corten.api.types.runtimeoptions.v1 import api_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import Runtime
from corten.errors import CortenError, InvalidArgument
from corten.values import dataclass
from google.protobuf.message import Message

from .config.runtime import Handler, RuntimeConfig

log = logging.getLogger(__name__)

RUNC = "io.containerd.runc.v2"
_RUNC_VERSION = "org.opencontainers.runc.version"
"""Among the annotations of its features."""


@dataclass(frozen=True, slots=True)
class Features:
    """`why_no_user_namespaces` is empty where they are offered."""

    recursive_read_only: bool = False
    why_no_user_namespaces: str = "its features are not known"


WhyNot = Callable[[str, str], str]
"""`why(handler, snapshotter)`: why that snapshotter (empty: the default) cannot map ids; empty if it can."""


class Handlers:
    """Asked on the event loop; what a runtime can do is found out once."""

    def __init__(self, config: RuntimeConfig, runtime: Runtime, why_no_id_maps: WhyNot) -> None:
        self._config = config
        self._runtime = runtime
        self._why_no_id_maps = why_no_id_maps
        self._features: dict[str, Features] = {}

    def chosen(self, name: str) -> tuple[str, Handler]:
        """The handler a request names, the default one for none. Raises InvalidArgument."""
        return self._config.handler(name)

    def runtime_info(self, name: str) -> RuntimeInfo:
        """What records and tasks of the handler's pods say of their runtime. Raises InvalidArgument for its options."""
        _, handler = self._config.handler(name)
        return RuntimeInfo(handler.runtime_type, options_of(handler))

    def runtime_path(self, name: str) -> str:
        """The shim binary that is set for it; empty for the one its runtime type means."""
        return self._config.handler(name)[1].runtime_path

    async def features(self, name: str) -> Features:
        """What its runtime can do; nothing for one that cannot be asked."""
        name, handler = self._config.handler(name)
        if name not in self._features:
            self._features[name] = await self._asked(name, handler)
        found = self._features[name]
        # asked anew each time: a snapshotter announces that it maps ids once it has tried, some time after its start
        why = found.why_no_user_namespaces or self._why_no_id_maps(name, handler.snapshotter)
        return replace(found, why_no_user_namespaces=why)

    async def _asked(self, name: str, handler: Handler) -> Features:
        try:
            info = await self._runtime.plugin_info(handler.runtime_path or handler.runtime_type, options_of(handler))
            found = introspection_pb2.RuntimeInfo.FromString(info.value)
            document = json.loads(found.features.value or b"{}")
        except (CortenError, ValueError) as error:
            why = str(error).partition("\n")[0]
            log.info("runtime handler %s: it does not tell its features: %s", name, why)
            return Features(why_no_user_namespaces=f"its runtime does not tell its features: {why}")
        return features_in(document)


def features_in(document: Mapping[str, Any]) -> Features:
    """What the document of `runc features` says, as far as CRI wants to know it."""
    linux = document.get("linux") or {}
    runtime = f"runtime {(document.get('annotations') or {}).get(_RUNC_VERSION, '')}".strip()
    why = ""
    if "user" not in (linux.get("namespaces") or ()):
        why = f"{runtime} has no user namespaces"
    elif not ((linux.get("mountExtensions") or {}).get("idmap") or {}).get("enabled"):
        why = f"{runtime} has no idmapped mounts (runc has them from 1.2 on)"
    elif not os.path.exists("/proc/self/ns/user"):
        why = "the kernel has no user namespaces"
    return Features("rro" in (document.get("mountOptions") or ()) and _kernel() >= (5, 12), why)


def options_of(handler: Handler) -> AnyValue | None:
    """The options as the runtime's own message; None for none. Raises InvalidArgument for a key it does not have."""
    if handler.runtime_type == RUNC:
        return _packed(_filled(oci_pb2.Options(), handler.options)) if handler.options else None
    if not handler.options:
        return None
    return _packed(_filled(api_pb2.Options(), handler.options))


def owned(info: RuntimeInfo, uid: int, gid: int) -> RuntimeInfo:
    """The same, whose processes' pipes belong to an owner, unless the handler's options name one; others than runc's
    have no say in this."""
    options = oci_pb2.Options()
    if info.name != RUNC:
        return info
    if info.options is not None:
        options.ParseFromString(info.options.value)
    options.io_uid, options.io_gid = options.io_uid or uid, options.io_gid or gid
    return RuntimeInfo(info.name, _packed(options))


def _filled(message: Message, options: Mapping[str, Any]) -> Message:
    """Keys are the message's fields as Go writes them: `SystemdCgroup` is `systemd_cgroup`."""
    names = {field.name.replace("_", "").lower(): field.name for field in message.DESCRIPTOR.fields}
    for key, value in options.items():
        name = names.get(key.replace("_", "").lower())
        if name is None:
            raise InvalidArgument(f"runtime options: there is no {key} in {message.DESCRIPTOR.full_name}")
        if isinstance(getattr(message, name), bytes) and isinstance(value, str):
            value = value.encode()
        try:
            setattr(message, name, value)
        except TypeError as error:
            raise InvalidArgument(f"runtime options: {key} cannot be {value!r}: {error}") from error
    return message


def _packed(message: Message) -> AnyValue:
    return AnyValue(message.DESCRIPTOR.full_name, message.SerializeToString())


def _kernel() -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(match[1]), int(match[2])) if match else (0, 0)
