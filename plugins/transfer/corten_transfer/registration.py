"""The registrations of this package; imports nothing of what they start."""

from corten.plugin.model import PluginContext, Registration, one
from corten.plugin.types import METADATA, STREAMING


def plugins() -> tuple[Registration, ...]:
    """The streams that clients open."""
    return (
        Registration(
            type=STREAMING,
            id="manager",
            init=_streams,
            requires=(one(METADATA),),
            summary="Keeps the streams that clients open: progress, archives, questions for credentials.",
        ),
    )


def _streams(context: PluginContext) -> object:
    from .streams import KIND, OpenStreams, StreamCollector

    streams = OpenStreams()
    register = getattr(context.one(METADATA), "register_collector", None)
    if register is not None:  # a store of third parties may have no such door
        register(KIND, StreamCollector(streams))
    return streams
