"""How long work tells how far it is: a callback of item, bytes done and bytes in all (0: unknown)."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called on the event loop, for an item such as `fetch sha256:…` or `unpack sha256:…`; must return at once."""


Warn = Callable[[str], None]
"""Called on the event loop with a sentence for people."""


def unheard(text: str) -> None:
    """Nobody listens."""


def ignored(item: str, done: int, total: int) -> None:
    """Nobody looks."""
