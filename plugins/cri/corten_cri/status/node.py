"""What the node tells of itself: its conditions, its runtime handlers and their features, its settings."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.plugin.types import WARNING
from corten.wire.service import CallContext, cancellable

from .. import messages
from ..handlers import Handlers
from ..parts import Parts
from .settings import document, with_defaults

if TYPE_CHECKING:
    from corten.contracts.warnings import Deprecation, Warnings

NO_WARNINGS = "ContainerdHasNoDeprecationWarnings"
WARNED = "ContainerdHasDeprecationWarnings"
SYSTEMD = "/run/systemd/system"
"""There where systemd is the init system (sd_booted(3))."""


class NodeStatus:
    """The RPCs Status, RuntimeConfig and UpdateRuntimeConfig."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @cancellable
    async def status(self, request: pb.StatusRequest, call: CallContext) -> pb.StatusResponse:
        network = await self._parts.network.condition()
        conditions = [
            pb.RuntimeCondition(type="RuntimeReady", status=True),
            pb.RuntimeCondition(
                type="NetworkReady", status=network.ready, reason=network.reason, message=network.message
            ),
            no_warnings(self._warnings(), self._parts.config.ignore_deprecation_warnings),
        ]
        return pb.StatusResponse(
            status=pb.RuntimeStatus(conditions=conditions),
            info=await self._info() if request.verbose else None,
            runtime_handlers=await handlers(self._parts.handlers, self._parts.config.handlers),
            features=pb.RuntimeFeatures(supplemental_groups_policy=True, user_namespaces_host_network=True),
        )

    @cancellable
    async def runtime_config(self, request: pb.RuntimeConfigRequest, call: CallContext) -> pb.RuntimeConfigResponse:
        """The cgroup driver, which the kubelet follows."""
        systemd = uses_systemd(self._parts, await self._parts.run(os.path.isdir, SYSTEMD))
        driver = "SYSTEMD" if systemd else "CGROUPFS"
        return pb.RuntimeConfigResponse(linux=pb.LinuxRuntimeConfiguration(cgroup_driver=driver))

    async def update_runtime_config(
        self, request: pb.UpdateRuntimeConfigRequest, call: CallContext
    ) -> pb.UpdateRuntimeConfigResponse:
        """The kubelet tells the pods' addresses."""
        if cidr := request.runtime_config.network_config.pod_cidr:
            await self._parts.network.update_pod_cidr(cidr)
        return pb.UpdateRuntimeConfigResponse()

    async def _info(self) -> dict[str, str]:
        """Each value is JSON; the keys are containerd's."""
        parts = self._parts
        further = {
            "containerdEndpoint": parts.endpoint, "containerdRootDir": str(parts.root.parent),
            "rootDir": str(parts.root), "stateDir": str(parts.state),
        }  # fmt: skip
        shown = {"config": {**document(with_defaults(parts.config)), **further}, "python": platform.python_version()}
        why = {name: (await parts.handlers.features(name)).why_no_user_namespaces for name in parts.config.handlers}
        found: Mapping[str, Any] = {**shown, "noUserNamespaces": {name: text for name, text in why.items() if text}}
        return {key: messages.text(value) for key, value in {**found, **parts.network.describe()}.items()}

    def _warnings(self) -> list[Deprecation]:
        view = self._parts.plugins.get(f"{WARNING}.deprecations")
        found: Warnings | None = view.instance if view else None  # type: ignore[assignment]
        return list(found.warnings()) if found is not None else []


def no_warnings(found: list[Deprecation], ignored: tuple[str, ...]) -> pb.RuntimeCondition:
    """Untrue while something deprecated is in use; the message is JSON, id to text."""
    told = {each.id: each.message for each in found if each.id not in ignored}
    if not told:
        return pb.RuntimeCondition(type=NO_WARNINGS, status=True)
    return pb.RuntimeCondition(type=NO_WARNINGS, status=False, reason=WARNED, message=json.dumps(told))


async def handlers(found: Handlers, names: Mapping[str, object]) -> list[pb.RuntimeHandler]:
    """By name; the empty name is the default one."""
    made = []
    for name in sorted(["", *names]):
        features = await found.features(name)
        made.append(
            pb.RuntimeHandler(
                name=name,
                features=pb.RuntimeHandlerFeatures(
                    recursive_read_only_mounts=features.recursive_read_only,
                    user_namespaces=not features.why_no_user_namespaces,
                ),
            )
        )
    return made


def uses_systemd(parts: Parts, is_there: bool) -> bool:
    """As the options of the first handler that has any say, the default one before the others; else by the host."""
    config = parts.config
    default = config.containerd.default_runtime_name
    for name in sorted(config.handlers, key=lambda each: (each != default, each)):
        handler = config.handlers[name]
        if handler.runtime_type == "io.containerd.runc.v2" and handler.options:
            return bool(handler.options.get("SystemdCgroup", False))
    return is_there
