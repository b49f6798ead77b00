"""Bounds of the event exchange, light to import."""

SUBSCRIBER_BOUND = 4096
"""Envelopes that a subscriber may be behind, unless the configuration says otherwise."""
