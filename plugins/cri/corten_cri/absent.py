"""Stand-ins for parts that are not there: each says so when it is asked for something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import Unimplemented

from .contracts import NetworkCondition, PodNetwork


def _missing(what: str) -> NoReturn:
    raise Unimplemented(f"CRI: {what}: this part of the plugin is not there")


class NoNetwork:
    """No pod gets a network."""

    async def start(self) -> None:
        return

    async def setup(self, pod: PodNetwork) -> tuple[str, ...]:
        _missing("networks of pods")

    async def check(self, pod: PodNetwork) -> None:
        _missing("networks of pods")

    async def teardown(self, pod: PodNetwork) -> None:
        return

    async def collect(self, alive: Sequence[PodNetwork]) -> None:
        return

    async def condition(self) -> NetworkCondition:
        return NetworkCondition(False, "NetworkPluginNotReady", "Network plugin returns error: cni is not there")

    def describe(self) -> Mapping[str, Any]:
        return {}

    def describe_pod(self, id: str) -> Mapping[str, Any] | None:
        return None

    async def update_pod_cidr(self, cidr: str) -> None:
        return


class NoStreaming:
    """Nothing is streamed."""

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def exec(self, request: pb.ExecRequest, call: object) -> pb.ExecResponse:
        _missing("exec")

    async def attach(self, request: pb.AttachRequest, call: object) -> pb.AttachResponse:
        _missing("attach")

    async def port_forward(self, request: pb.PortForwardRequest, call: object) -> pb.PortForwardResponse:
        _missing("port-forward")


class NoEvents:
    """Nobody is told."""

    def publish(self, kind: int, id: str, pod_id: str) -> None:
        return


class NoCdi:
    """There are no devices."""

    async def inject(self, spec: dict[str, Any], devices: Sequence[str], annotations: Mapping[str, str]) -> None:
        if devices:
            _missing(f"device {devices[0]!r}")
