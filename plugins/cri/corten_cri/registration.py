"""The registrations of this package; imports nothing of what they start."""

from __future__ import annotations

import sys

from corten.plugin.model import PluginContext, Registration, SkipPlugin, each, one, order
from corten.plugin.types import (
    CRI,
    EVENT,
    GC,
    GRPC,
    LEASE,
    METADATA,
    NRI,
    POD_SANDBOX_CONTROLLER,
    RUNTIME,
    SANDBOX_STORE,
    SNAPSHOTTER,
    TRANSFER,
    WARNING,
)

from .config import moves
from .config.images import ImagesConfig
from .config.runtime import RuntimeConfig
from .config.server import ServerConfig


def plugins() -> tuple[Registration, ...]:
    """The settings of the runtime side, the image side, and the two services of CRI."""
    return (
        Registration(
            type=CRI,
            id="runtime",
            init=_runtime,
            config=RuntimeConfig,
            moves=moves.to_runtime(),
            exports={"CRIVersion": "v1"},
            summary="Knows how pods and containers of the kubelet are run.",
        ),
        Registration(
            type=CRI,
            id="images",
            init=_images,
            requires=(one(METADATA), one(GC), one(EVENT), each(TRANSFER), each(WARNING), order(SNAPSHOTTER)),
            config=ImagesConfig,
            moves=moves.to_images(),
            summary="Pulls and keeps the images of the kubelet.",
        ),
        Registration(
            type=GRPC,
            id="cri",
            init=_services,
            requires=(
                one(METADATA),
                one(LEASE),
                one(RUNTIME, "task"),
                one(EVENT),
                one(SANDBOX_STORE),
                each(CRI),
                each(NRI),
                each(WARNING),
            ),
            config=ServerConfig,
            preload=("corten_cri.namespaces.helper", "corten_cri.stats.network", "corten_cri.streaming.connecting"),
            serves=("runtime.v1.RuntimeService", "runtime.v1.ImageService"),
            exports={"CRIVersion": "v1"},
            summary="Serves the Kubernetes runtime interface.",
        ),
        Registration(
            type=POD_SANDBOX_CONTROLLER,
            id="podsandbox",
            init=_pod_sandboxes,
            requires=(one(GRPC, "cri"),),
            summary="Shows the pods of CRI through the sandbox API.",
        ),
    )


def _runtime(context: PluginContext) -> object:
    from .config.base_specs import load
    from .config.runtime import check
    from .parts import CriSettings

    config = context.config_as(RuntimeConfig)
    check(config)
    return CriSettings(config, load(config))


def _images(context: PluginContext) -> object:
    from .images.starting import image_parts

    return image_parts(context)


def _services(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .assembly import assemble

        return assemble(context)
    raise SkipPlugin("pods are for Linux hosts in this version")


def _pod_sandboxes(context: PluginContext) -> object:
    from .pods.controller import PodSandboxes

    return PodSandboxes(context.one(GRPC))
