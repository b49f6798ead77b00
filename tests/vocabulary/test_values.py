"""`corten.values.dataclass` beside `dataclasses.dataclass`: the same to whoever uses the class."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar

import pytest
from corten import values

KIND = {"frozen": True, "slots": True}


@values.dataclass(frozen=True, slots=True)
class Point:
    """A place."""

    x: int
    y: int = 0
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    hidden: str = field(default="", repr=False, compare=False)
    dimensions: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is below 0")


@values.dataclass(frozen=True, slots=True)
class Higher(Point):
    z: int = field(default=1, kw_only=True)


def made(dataclass: Any) -> tuple[Any, Any, Any]:
    """The same three classes, by one of the two."""

    @dataclass(**KIND)
    class Nothing:
        pass

    @dataclass(**KIND)
    class One:
        a: int
        b: str = "b"

        def shout(self) -> str:
            return self.b.upper()

    @dataclass(**KIND)
    class Own:
        a: int = 1

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    return Nothing, One, Own


@pytest.mark.parametrize("dataclass", [values.dataclass, dataclasses.dataclass])
def test_both_make_the_same(dataclass: Any) -> None:
    nothing, one, own = made(dataclass)
    assert nothing() == nothing() and hash(nothing()) == hash(nothing())
    assert one(1) == one(a=1, b="b") != one(2) and one(1) != 1
    assert hash(one(1)) == hash(one(1)) and len({one(1), one(1), one(2)}) == 2
    assert repr(one(1)) == f"{one.__qualname__}(a=1, b='b')" and one(1).shout() == "B"
    assert one.__slots__ == ("a", "b") and not hasattr(one(1), "__dict__")
    assert own(1) == own(2) and repr(own()) == "own" and isinstance(hash(own()), int)
    assert dataclasses.replace(one(1), b="c") == one(1, "c") and dataclasses.asdict(one(1)) == {"a": 1, "b": "b"}
    for args, named in (((), {}), ((1,), {"c": 2}), ((1, 2, 3), {})):
        with pytest.raises(TypeError, match=r"__init__\(\)"):
            one(*args, **named)
    with pytest.raises(FrozenInstanceError, match="'a'"):
        one(1).a = 2
    with pytest.raises(FrozenInstanceError, match="'a'"):
        del one(1).a
    match one(3):
        case one(a, b):
            assert (a, b) == (3, "b")


def test_fields_with_wishes() -> None:
    first, second = Point(1, hidden="s"), Point(1, hidden="t")
    assert first == second and hash(first) == hash(Point(1, names={"a": "b"})) and first != Point(1, names={"a": "b"})
    assert "hidden" not in repr(first) and first.names == {} and first.names is not second.names
    assert Point.__doc__ == "A place." and Point.dimensions == 2
    with pytest.raises(ValueError, match="below 0"):
        Point(-1)


def test_a_class_below_another() -> None:
    assert Higher(1, 2, z=3) == Higher(1, 2, z=3) != Higher(1, 2) and Higher(1) != Point(1)
    assert repr(Higher(1)) == "Higher(x=1, y=0, names={}, z=1)"
    with pytest.raises(ValueError, match="below 0"):
        Higher(-1)


@pytest.mark.parametrize("dataclass", [values.dataclass, dataclasses.dataclass])
def test_the_constructor_is_the_one_of_dataclasses(dataclass: Any) -> None:
    @dataclass(**KIND)
    class Wide:
        a: int
        b: list[int] = field(default_factory=list)
        c: int = field(default=3, init=False)
        d: list[int] = field(default_factory=list, init=False)
        e: int = field(kw_only=True)
        f: str = field(default="f", kw_only=True)

    made = Wide(1, e=5)
    assert dataclasses.astuple(made) == (1, [], 3, [], 5, "f") and made.b is not Wide(1, e=5).b is not made.d
    assert str(inspect.signature(Wide.__init__)).startswith("(self, a: int, b: list[int] = ")
    assert Wide(1, [2], e=5, f="g").b == [2] and dataclasses.replace(made, e=6).e == 6
    wrong: list[tuple[Any, Any]] = [((1,), {}), ((1, [], 3), {"e": 5}), ((1,), {"e": 5, "c": 4})]
    for args, named in wrong:
        with pytest.raises(TypeError, match=r"Wide.__init__\(\)"):
            Wide(*args, **named)


def test_copies_and_pickles() -> None:
    for value in (Point(1, names={"a": "b"}, hidden="s"), Higher(1, z=5)):
        for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301
            assert again == value and again.hidden == value.hidden


DEFINED = """
import dataclasses, sys
from corten import values
events = []
sys.addaudithook(lambda event, _: events.append(event) if event in ("compile", "exec") else None)
plain = type("A", (), {"__annotations__": {"a": int}})
made = sys.modules[sys.argv[1]].dataclass(frozen=True, slots=True)(plain)
print(len(events))
made(1)
print(len(events))
"""


def test_nothing_is_compiled_before_the_first_instance() -> None:
    def compiled(module: str) -> list[int]:
        argv = [sys.executable, "-c", DEFINED, module]
        return [int(line) for line in subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()]

    at_definition, at_use = compiled("corten.values")
    assert at_definition == 0 < at_use
    assert compiled("dataclasses")[0] > 0


def test_other_kinds_are_as_ever() -> None:
    @values.dataclass
    class Loose:
        a: int = 1

    loose = Loose()
    loose.a = 2
    assert loose == Loose(2)
