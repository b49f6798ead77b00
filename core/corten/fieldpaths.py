"""Field masks of Update calls: which fields, and which keys of map fields, an update replaces.

A path is a field (`image`), or a map field and a key (`labels.containerd.io/gc.root`): everything behind the first dot
is the key, dots and slashes included, and nothing is quoted. The rules are those of containerd, which follow
https://protobuf.dev/reference/protobuf/google.protobuf/#field-mask.

    paths = parse(mask, fields=("labels", "image"), maps=("labels",), what='container "web"')
    labels = merged(old.labels, new.labels, "labels", paths)
    image = new.image if replaces(paths, "image") else old.image
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from corten import labels as label_rules
from corten.errors import InvalidArgument
from corten.values import dataclass

V = TypeVar("V")

_SHOWN = 128


@dataclass(frozen=True, slots=True)
class FieldPath:
    """One path of a mask; `key` is None for the whole field."""

    field: str
    key: str | None = None


def parse(
    mask: Sequence[str],
    fields: Collection[str],
    maps: Collection[str] = ("labels",),
    what: str = "object",
) -> tuple[FieldPath, ...]:
    """The paths of a mask; an empty mask stands for all `fields`.

    `fields` are those that may be replaced whole, `maps` those that may be addressed by key.
    Raises InvalidArgument for any other path; `what` names the object in the message.
    """
    return tuple(_path(text, fields, maps, what) for text in (mask or tuple(fields)))


def replaces(paths: Sequence[FieldPath], field: str) -> bool:
    """Whether the whole of `field` is replaced."""
    return FieldPath(field) in paths


def merged(old: Mapping[str, V], new: Mapping[str, V], field: str, paths: Sequence[FieldPath]) -> dict[str, V]:
    """The map field after the update; the paths apply in their order, and a key that `new` lacks is removed."""
    result = dict(old)
    for path in paths:
        if path.field != field:
            continue
        if path.key is None:
            result = dict(new)
        elif path.key in new:
            result[path.key] = new[path.key]
        else:
            result.pop(path.key, None)
    return result


def merged_labels(old: Mapping[str, str], new: Mapping[str, str], mask: Sequence[str], what: str) -> dict[str, str]:
    """The labels of an object of which nothing but labels can be updated, as they are to be stored.

    Labels with an empty value are removed. Raises InvalidArgument for a path that is not of labels, or a label that is
    too large.
    """
    paths = parse(mask, fields=("labels",), what=what)
    result = label_rules.kept(merged(old, new, "labels", paths))
    label_rules.validate(result)
    return result


def _path(text: str, fields: Collection[str], maps: Collection[str], what: str) -> FieldPath:
    if text in fields:
        return FieldPath(text)
    field, dot, key = text.partition(".")
    if dot and field in maps:
        return FieldPath(field, key)
    choices = [*fields, *(f"{name}.KEY" for name in maps)]
    raise InvalidArgument(f"{what}: cannot update field {text[:_SHOWN]!r}; it must be one of {', '.join(choices)}")
