"""What labels say about references: containerd's gc labels, read into data. Pure.

containerd.io/gc.root                         content, snapshots: a root
containerd.io/gc.ref.content[.X | /X]         → the blob with that digest
containerd.io/gc.ref.image[.X | /X]           → the image
containerd.io/gc.ref.snapshot.SNAPSHOTTER[/X] → the snapshot
containerd.io/gc.ref.NAME[.X | /X]            → a resource of a further collector with that reference label
containerd.io/gc.bref.container|content|image[.X | /X], …bref.snapshot.SNAPSHOTTER[/X]
                                              ← the object named keeps the one with the label
containerd.io/gc.cond.snapshot[.SNAPSHOTTER][/X] = usedat<1h[,usedat>…]|KEY
                                              → the snapshot, while a condition holds
containerd.io/gc.cond.value-usedat            snapshots: the time that the conditions look at
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from corten.errors import InvalidArgument
from corten.values import dataclass

from corten_metadata.expiry import duration, rfc3339

from . import nodes
from .nodes import Node

PREFIX = "containerd.io/gc."
ROOT = "containerd.io/gc.root"
FLAT = "containerd.io/gc.flat"
_REF = "containerd.io/gc.ref."
_BACK = "containerd.io/gc.bref."
_CONDITION = "containerd.io/gc.cond.snapshot"
_USED_AT = "containerd.io/gc.cond.value-usedat"
_OPERATORS = ("!=", "<=", ">=", "==", "<", ">", "=")


class Condition(NamedTuple):
    """Holds for a snapshot whose `usedat` lies less (`<`) or more (`>`) than `age` nanoseconds back."""

    target: Node
    operator: str
    age: int

    def holds(self, used_at: int, now: int) -> bool:
        passed = now - used_at
        return passed < self.age if self.operator == "<" else passed > self.age


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """All that the labels of one object say."""

    root: bool = False
    flat: bool = False
    references: tuple[Node, ...] = ()
    referrers: tuple[Node, ...] = ()
    """Objects that keep this one."""
    conditions: tuple[Condition, ...] = ()
    used_at: int | None = None


NOTHING = LabelFacts()


def facts(namespace: str, labels: Mapping[str, str], extra: Collection[str] = ()) -> LabelFacts:
    """Read the labels of an object; `extra` are the reference labels of further collectors."""
    ours = {key: value for key, value in labels.items() if key.startswith(PREFIX)}
    if not ours:
        return NOTHING
    return LabelFacts(
        root=any(key.startswith(ROOT) for key in ours),
        flat=FLAT in ours,
        references=tuple(_references(namespace, ours, extra)),
        referrers=tuple(_referrers(namespace, ours)),
        conditions=tuple(_conditions(namespace, ours)),
        used_at=rfc3339(ours[_USED_AT]) if _USED_AT in ours else None,
    )


def _references(namespace: str, labels: Mapping[str, str], extra: Collection[str]) -> Iterator[Node]:
    for key, value in labels.items():
        if key.startswith(_REF):
            yield from _target(namespace, key.removeprefix(_REF), value, (nodes.CONTENT, nodes.IMAGE, *extra))


def _referrers(namespace: str, labels: Mapping[str, str]) -> Iterator[Node]:
    kinds = (nodes.CONTAINER, nodes.CONTENT, nodes.IMAGE)
    for key, value in labels.items():
        if key.startswith(_BACK):
            yield from _target(namespace, key.removeprefix(_BACK), value, kinds)


def _target(namespace: str, name: str, value: str, kinds: Collection[str]) -> Iterator[Node]:
    """The node that `content.config` or `snapshot.overlayfs/1` and a value mean; none for other names."""
    if name.startswith("snapshot."):
        snapshotter = name.removeprefix("snapshot.").partition("/")[0]
        yield nodes.snapshot(namespace, snapshotter, value)
        return
    for kind in kinds:
        if name == kind or name.startswith((f"{kind}.", f"{kind}/")):
            yield Node(kind, namespace, value)


def _conditions(namespace: str, labels: Mapping[str, str]) -> Iterator[Condition]:
    """Several conditions of a label are alternatives; those that cannot be read are none."""
    for label, value in labels.items():
        terms, bar, key = value.partition("|")
        if not label.startswith(_CONDITION) or not bar:
            continue
        snapshotter = label.removeprefix(_CONDITION).lstrip("./").partition("/")[0]
        target = nodes.snapshot(namespace, snapshotter, key)
        yield from (term for text in terms.split(",") for term in _condition(target, text))


def _condition(target: Node, text: str) -> Iterator[Condition]:
    at = min((text.find(mark) for mark in "!<>=" if mark in text), default=-1)
    operator = next((each for each in _OPERATORS if text.startswith(each, at)), "") if at > 0 else ""
    if text[:at] == "usedat" and operator in ("<", ">"):
        try:
            yield Condition(target, operator, duration(text[at + 1 :]))
        except InvalidArgument:
            return
