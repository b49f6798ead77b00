"""What is to be done with a list of mounts, decided purely: who transforms, who mounts, and how many are done here."""

from collections.abc import Collection, Sequence

from corten.contracts.mounts import Mount
from corten.values import dataclass

TRANSFORMERS = ("format", "mkdir", "mkfs")


@dataclass(frozen=True, slots=True)
class Step:
    """One mount: transformers in their order, each with the type that it leaves, and whether a handler does it."""

    mount: Mount
    transformers: tuple[tuple[str, str], ...]
    handler: str = ""

    @property
    def type(self) -> str:
        """The type once all transformers have been at it."""
        return self.transformers[-1][1] if self.transformers else self.mount.type


@dataclass(frozen=True, slots=True)
class Plan:
    """`made` steps are done here; of the rest, the first may be transformed. None are done if `made` is negative."""

    steps: tuple[Step, ...]
    made: int

    @property
    def needed(self) -> bool:
        return self.made >= 0


def plan(
    mounts: Sequence[Mount], handlers: Collection[str], *, temporary: bool = False, allowed: Collection[str] = ()
) -> Plan:
    """As containerd counts: what is transformed needs all before it made, what is handled is made itself."""
    steps, made = [], -1
    for index, mount in enumerate(mounts):
        transformers, type = _prefixes(mount.type)
        if any(not _left_to_caller(name, before, mount.type, allowed) for name, before in transformers):
            made = index
        handler = type if type in handlers else ""
        if temporary or (handler and type not in allowed):
            made = index + 1
        steps.append(Step(mount, transformers, handler))
    return Plan(tuple(steps), made)


def _prefixes(type: str) -> tuple[tuple[tuple[str, str], ...], str]:
    found = []
    while "/" in type:
        name, _, rest = type.partition("/")
        if name not in TRANSFORMERS:
            break
        found.append((name, rest))
        type = rest
    return tuple(found), type


def _left_to_caller(transformer: str, rest: str, type: str, allowed: Collection[str]) -> bool:
    return f"{transformer}/*" in allowed or type in allowed
