"""The version of the schema, and the steps from each version to the next; all run in one transaction at open."""

from collections.abc import Callable, Mapping

from corten.errors import FailedPrecondition

from .codec import Decoder, Encoder
from .schema import VERSION_KEY
from .transactions import Writing

VERSION = 1

Step = Callable[[Writing], None]

STEPS: Mapping[int, Step] = {}
"""From a version to the next one; version 1 is the first."""


def migrate(txn: Writing, steps: Mapping[int, Step] = STEPS, target: int = VERSION) -> int:
    """Bring the store to version `target`; returns the version it had (0: it was empty).

    Raises FailedPrecondition for a store that a newer Corten wrote.
    """
    stored = Decoder(txn.get(VERSION_KEY) or b"").number()
    if stored > target:
        raise FailedPrecondition(
            f"metadata store: its schema is version {stored}, and this Corten knows up to {target}; use a newer Corten"
        )
    for version in range(stored or target, target):
        steps[version](txn)
    if stored != target:
        txn.put(VERSION_KEY, Encoder().number(target).done())
    return stored
