"""`dataclass`: what `dataclasses.dataclass` makes, without the time that it takes at import.

For each class `dataclasses` writes and compiles eight functions while the module is imported: 0.9 ms. The daemon has
hundreds of immutable classes, most of which see no use before the first call, and a third of its time to boot went
there. Here, of a class with `frozen=True, slots=True`, the constructor is compiled when the first instance is made, and
the other methods are shared by all classes: 0.06 ms. `field`, `fields`, `replace`, `asdict` are those of `dataclasses`;
classes of other kinds are made by it as they are.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **kind: Any) -> Any:
        """As `dataclasses.dataclass`; `@dataclass(frozen=True, slots=True)` is the cheap one."""
        make = _value if kind == {"frozen": True, "slots": True} else dataclasses.dataclass(**kind)
        return make if cls is None else make(cls)


_getters: dict[tuple[type, str], Callable[[Any], object]] = {}


def _value(cls: type) -> Any:
    own, documented = vars(cls), cls.__doc__
    for name, method in _SHARED.items():
        if own.get(name) is None:  # Python sets __hash__ to None beside an __eq__
            setattr(cls, name, method)
    if "__init__" not in own:

        def first(self: Any, *args: Any, **kwargs: Any) -> None:
            made.__init__ = _constructor(made)
            made.__init__(self, *args, **kwargs)

        cls.__init__ = first  # type: ignore[misc]
    cls.__doc__ = documented or ""  # else dataclasses makes one up, slowly
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    made.__doc__ = documented
    return made


def _constructor(cls: type) -> Any:
    """What dataclasses makes for a class with the same fields, without the class that it makes for it: 0.1 ms."""
    fields = dataclasses.fields(cls)
    known: dict[str, Any] = {f"{kind}{each.name}": value for each in fields for kind, value in _defaults(each)}
    known |= {"_set": object.__setattr__, "_UNSET": _UNSET, "__name__": cls.__module__}
    exec(_source(fields, then=hasattr(cls, "__post_init__")), known)  # noqa: S102
    made = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {each.name: each.type for each in fields if each.init} | {"return": None}
    return made


def _source(fields: "Sequence[dataclasses.Field[Any]]", then: bool) -> str:
    """The constructor's text; `then` has it call `__post_init__`."""
    places = [_parameter(each) for each in fields if each.init and not each.kw_only]
    names = [_parameter(each) for each in fields if each.init and each.kw_only]
    body = [f"_set(self, {each.name!r}, {_value_of(each)})" for each in fields if each.init or [*_defaults(each)]]
    body += ["self.__post_init__()"] if then else [] if body else ["pass"]
    return f"def __init__({', '.join(['self', *places, *(['*', *names] if names else [])])}):\n " + "\n ".join(body)


_UNSET: Any = object()
"""Stands for an argument whose default is made anew each time."""


def _defaults(field: "dataclasses.Field[Any]") -> Iterator[tuple[str, Any]]:
    """The field's default or what makes it, and how its name begins in the constructor; nothing for neither."""
    if field.default is not dataclasses.MISSING:
        yield "_default_", field.default
    elif field.default_factory is not dataclasses.MISSING:
        yield "_make_", field.default_factory


def _parameter(field: "dataclasses.Field[Any]") -> str:
    defaults = {"_default_": f"=_default_{field.name}", "_make_": "=_UNSET"}
    return field.name + "".join(defaults[prefix] for prefix, _ in _defaults(field))


def _value_of(field: "dataclasses.Field[Any]") -> str:
    """The expression in the constructor."""
    name = field.name
    if field.default_factory is dataclasses.MISSING:
        return name if field.init else f"_default_{name}"
    return f"_make_{name}() if {name} is _UNSET else {name}" if field.init else f"_make_{name}()"


def _fields_of(self: Any, use: str) -> object:
    """The fields that take part in comparing, or in hashing."""
    cls = type(self)
    getter = _getters.get((cls, use))
    if getter is None:
        names = [each.name for each in dataclasses.fields(cls) if _takes_part(each, use)]
        getter = _getters[cls, use] = attrgetter(*names) if names else lambda _: ()
    return getter(self)


def _takes_part(field: "dataclasses.Field[Any]", use: str) -> bool:
    return bool(field.compare if use == "compare" or field.hash is None else field.hash)


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _fields_of(self, "compare") == _fields_of(other, "compare")


def _hash(self: Any) -> int:
    return hash(_fields_of(self, "hash"))


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _setattr(self: Any, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


_SHARED = {
    "__eq__": _eq, "__hash__": _hash, "__repr__": _repr, "__setattr__": _setattr, "__delattr__": _delattr,
    "__getstate__": _getstate, "__setstate__": _setstate,
}  # fmt: skip
