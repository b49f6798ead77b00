"""The registrations of this package; imports nothing of what they start."""

from corten.plugin.model import Registration


def plugins() -> tuple[Registration, ...]:
    """None yet."""
    return ()
