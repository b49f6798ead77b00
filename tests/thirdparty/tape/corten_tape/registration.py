"""What the package offers; nothing heavy is imported here."""

from dataclasses import dataclass

from corten.plugin.model import PluginContext, Registration, one
from corten.plugin.types import GRPC, HOOKS, METADATA, SNAPSHOTTER


@dataclass(frozen=True)
class TapeConfig:
    """Settings of the snapshotter."""

    root_path: str = ""
    """Where the trees lie; empty: the plugin's own folder."""


def plugins() -> tuple[Registration, ...]:
    """The entry point."""
    return (
        Registration(type=SNAPSHOTTER, id="tape", init=_snapshotter, config=TapeConfig, summary="Trees by copying."),
        Registration(
            type=GRPC,
            id="tape",
            init=_service,
            requires=(one(METADATA),),
            serves=("example.tape.v1.Tape",),
            summary="Counts images.",
        ),
        Registration(type=HOOKS, id="tape", init=_hooks, summary="Sets TAPE=wound in every container."),
    )


def _snapshotter(context: PluginContext) -> object:
    from .snapshotter import TapeSnapshotter

    root = context.config_as(TapeConfig).root_path or str(context.root)
    context.export("root", root)
    return TapeSnapshotter(root)


def _service(context: PluginContext) -> object:
    from .service import TapeProvider

    return TapeProvider(context.one(METADATA), context.pools)


def _hooks(context: PluginContext) -> object:
    from .hooks import Wind

    return Wind()
