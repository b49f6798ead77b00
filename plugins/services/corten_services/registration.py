"""The registrations of this package; imports nothing of what they start."""

from corten.plugin.model import PluginContext, Registration
from corten.plugin.types import EVENT

from .config import ExchangeConfig


def plugins() -> tuple[Registration, ...]:
    """The event exchange."""
    return (
        Registration(
            type=EVENT,
            id="exchange",
            init=_exchange,
            config=ExchangeConfig,
            summary="Carries every event, in order, to whoever subscribed.",
        ),
    )


def _exchange(context: PluginContext) -> object:
    from .exchange import ExchangePlugin

    config = context.config_as(ExchangeConfig)
    return ExchangePlugin(config.subscriber_bound, context.hooks, context.supervisor)
