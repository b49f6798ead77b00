"""The registrations of this package; imports nothing of what they start."""

import sys

from corten.plugin.model import PluginContext, Registration, SkipPlugin, each
from corten.plugin.types import NRI, WARNING

from .config import NriConfig


def plugins() -> tuple[Registration, ...]:
    """The Node Resource Interface."""
    return (
        Registration(
            type=NRI,
            id="nri",
            init=_nri,
            requires=(each(WARNING),),
            config=NriConfig,
            summary="Lets programs of the node's owner see and adjust pods and containers.",
        ),
    )


def _nri(context: PluginContext) -> object:
    if sys.platform != "win32":
        from .adaptation import Adaptation

        warnings = context.each(WARNING).get("deprecations")
        return Adaptation(context.config_as(NriConfig), context.pools, context.supervisor, warnings)
    raise SkipPlugin("NRI plugins connect to unix sockets")
