"""The metrics endpoint, and the figures of containers on it."""
