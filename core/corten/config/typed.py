"""Fills a config model (a dataclass with defaults) from plain data, and says everything that does not fit; pure.

Understood are nested dataclasses, `Mapping[str, T]` and `dict`, `list[T]`, `tuple[T, ...]` and `Sequence[T]`,
`T | None`, enums, literals, `Path`, `bool`, `int`, `float`, `str`, `Any`, and the marks of `corten.config.units`.
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from .document import KeyPath, dotted, nearest
from .units import BYTES, SECONDS, Unit, seconds, size, written

T = TypeVar("T")

_NAMES = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text",
    dict: "a section with keys", list: "a list", type(None): "nothing",
}  # fmt: skip


class Misfit(typing.NamedTuple):
    """A key that does not fit its model."""

    path: KeyPath
    text: str
    unknown: bool
    """Whether the key is unknown, rather than its value wrong."""


class _Wrong(Exception):
    """The value has the wrong type; the argument says what was wanted."""


def fill(model: type[T], data: object, path: KeyPath = ()) -> tuple[T, list[Misfit]]:
    """An instance with the values of `data` and defaults for the rest, and what does not fit (left at its default)."""
    misfits: list[Misfit] = []
    if not isinstance(data, Mapping):
        misfits.append(Misfit(path, f"{dotted(path)} must be a section with keys, not {_name(data)}", False))
        data = {}
    kinds = keys(model)
    values: dict[str, Any] = {}
    for key, value in data.items():
        below = (*path, key)
        if key not in kinds:
            text = f"{dotted(below)} is not a known key{nearest(key, kinds)}"
            misfits.append(Misfit(below, text, True))
            continue
        try:
            values[key] = _value(kinds[key], value, below, misfits)
        except _Wrong as wrong:
            misfits.append(Misfit(below, f"{dotted(below)} {wrong}", False))
    try:
        return model(**values), misfits
    except Exception as error:  # a model may check its values in __post_init__
        misfits.append(Misfit(path, f"{dotted(path)}: {error}", False))
        return model(), misfits


def keys(model: type[Any]) -> Mapping[str, Any]:
    """The type of each settable field of a model, by the key that it has in a file."""
    return _hints(cast("Hashable", model))


@cache
def _hints(model: Any) -> Mapping[str, Any]:
    kinds = typing.get_type_hints(model, include_extras=True)
    return {each.name: kinds[each.name] for each in fields(model) if each.init}


def plain(value: object, kind: object = None) -> Any:
    """A filled model as plain data, as it would stand in a file."""
    if is_dataclass(value) and not isinstance(value, type):
        kinds = keys(type(value))
        return {name: plain(getattr(value, name), kinds[name]) for name in kinds}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float) and _unit(kind) is SECONDS:
        return written(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def default_of(model: type[Any], name: str) -> object:
    """The default value of a field."""
    for each in fields(model):
        if each.name == name:
            return each.default if each.default is not MISSING else getattr(model(), name)
    raise KeyError(name)


def _value(kind: Any, value: Any, path: KeyPath, misfits: list[Misfit]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        measured = isinstance(value, str) and _unit(kind)
        return _measured(measured, value) if measured else _value(arguments[0], value, path, misfits)
    if origin in (Union, types.UnionType):
        return _either(arguments, value, path, misfits)
    if origin is Literal:
        return _one_of(value, arguments)
    if isinstance(kind, type) and is_dataclass(kind):
        return _section(kind, value, path, misfits)
    if origin in _MAPPINGS or kind in _MAPPINGS:
        return dict(_items(value, arguments[1] if arguments else Any, path, misfits))
    if origin in _SEQUENCES or kind in _SEQUENCES:
        made = _members(value, arguments[0] if arguments else Any, path, misfits)
        return _CONTAINERS.get(origin or kind, tuple)(made)
    return _scalar(kind, value)


def _section(model: type[T], value: Any, path: KeyPath, misfits: list[Misfit]) -> T:
    """A nested model; a key with nothing behind it is a section that sets nothing."""
    filled, below = fill(model, {} if value is None else value, path)
    misfits += below
    return filled


_MAPPINGS = (dict, collections.abc.Mapping)
_SEQUENCES = (list, tuple, frozenset, collections.abc.Sequence)
_CONTAINERS: Mapping[Any, Callable[[Iterator[Any]], Any]] = {list: list, frozenset: frozenset}
"""What a list in a file becomes; a tuple unless the model asks for another."""


def _scalar(kind: Any, value: Any) -> Any:
    if kind is Any or kind is object:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(_one_of(value, [each.value for each in kind]))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is type(None) and value is None:
        return None
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise _Wrong(f"must be {_NAMES.get(kind, getattr(kind, '__name__', str(kind)))}, not {_name(value)}")


def _measured(unit: Unit, text: str) -> float | int:
    try:
        return seconds(text) if unit is SECONDS else size(text)
    except ValueError as error:
        raise _Wrong(f"must be {unit}: {error}") from error


def _either(kinds: tuple[Any, ...], value: Any, path: KeyPath, misfits: list[Misfit]) -> Any:
    wrongs: list[str] = []
    for kind in kinds:
        below: list[Misfit] = []
        try:
            made = _value(kind, value, path, below)
        except _Wrong as wrong:
            wrongs.append(str(wrong))
            continue
        misfits += below
        return made
    raise _Wrong(wrongs[0])


def _one_of(value: Any, allowed: Any) -> Any:
    if value in allowed:
        return value
    raise _Wrong(
        f"must be one of {', '.join(map(str, allowed))}, not {value!r}{nearest(str(value), map(str, allowed))}"
    )


def _items(value: Any, kind: Any, path: KeyPath, misfits: list[Misfit]) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise _Wrong(f"must be {_NAMES[dict]}, not {_name(value)}")
    for key, each in value.items():
        try:
            yield key, _value(kind, each, (*path, key), misfits)
        except _Wrong as wrong:
            misfits.append(Misfit((*path, key), f"{dotted((*path, key))} {wrong}", False))


def _members(value: Any, kind: Any, path: KeyPath, misfits: list[Misfit]) -> Iterator[Any]:
    if not isinstance(value, list | tuple):
        raise _Wrong(f"must be {_NAMES[list]}, not {_name(value)}")
    for index, each in enumerate(value):
        try:
            yield _value(kind, each, (*path, str(index)), misfits)
        except _Wrong as wrong:
            misfits.append(Misfit((*path, str(index)), f"{dotted(path)}, entry {index + 1}, {wrong}", False))


def _unit(kind: object) -> Unit | None:
    return next((each for each in getattr(kind, "__metadata__", ()) if each is SECONDS or each is BYTES), None)


def _name(value: object) -> str:
    named = _NAMES.get(type(value), type(value).__name__)
    return f"{named} ({value!r})" if isinstance(value, bool | int | float | str) else named
