"""For whom a call acts: the namespace, and the lease that new resources join."""

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """A namespace (never empty) and the id of a lease in it (empty for none).

    What is created under a scope with a lease is added to that lease, so that gc keeps it.
    """

    namespace: str
    lease: str = ""
