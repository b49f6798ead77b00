"""Writes docs/configuration.md from the models of the daemon and of every built-in plugin.

    python -m corten.config.reference > docs/configuration.md

What a key means is the text below its field in the model, or the `doc` of the field's metadata.
"""

from __future__ import annotations

import ast
import enum
import inspect
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Annotated, Any, get_args, get_origin

from corten.plugin.model import Registration

from .settings import TIMEOUTS, Settings
from .typed import default_of, keys, plain
from .units import BYTES, SECONDS, written

_HEAD = """\
# Configuration

This page is written by `python -m corten.config.reference` from the models in the code.

`cortend` reads `/etc/corten/config.yaml`, or the file named with `--config`, in YAML or in containerd's TOML of any
version. In YAML, a key that nobody knows, a key that stands twice and a value of the wrong type are errors with file,
line and the nearest right key. In containerd's TOML an unknown key is a warning, on which `cortend config check` fails.
Without a file the defaults hold, and `/etc/corten/conf.d/*.yaml` and `*.toml` are read.

`cortend config default` prints all of this with its defaults, `dump` what a start would use, `migrate` an old file in
the present version, `check` every mistake, and `explain KEY` the value of a key with the file and line that set it.

A duration is text such as `1m30s` or `100ms`, or a number of seconds. A size is a number of bytes, or text such as
`16MiB`.
"""


def reference(registrations: Sequence[Registration]) -> str:
    """The page."""
    parts = [_HEAD, "## Top level\n", _table(Settings), *_nested(Settings), _timeouts()]
    for each in sorted(registrations, key=lambda registration: registration.uri):
        if each.config is not None:
            parts += [f"## `{each.uri}`\n", *_about(each), _table(each.config), *_nested(each.config)]
    return "\n".join(parts)


def docs(model: type[Any]) -> Mapping[str, str]:
    """What each field of a model means: the docstring below it, in the class or those it extends."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__[:-1]):
        found |= _docstrings(cls)
    found |= {each.name: str(each.metadata["doc"]) for each in fields(model) if "doc" in each.metadata}
    return found


def _docstrings(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }  # fmt: skip


def _about(registration: Registration) -> Iterator[str]:
    if registration.summary:
        yield f"{registration.summary.rstrip('.')}.\n"


def _table(model: type[Any]) -> str:
    meanings = docs(model)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, kind in keys(model).items():
        cells = (f"`{name}`", _named(kind), _default(model, name, kind), meanings.get(name, _first_line(kind)))
        rows.append(f"| {' | '.join(each.replace('|', '&#124;') for each in cells)} |")
    return "\n".join([*rows, ""])


def _nested(model: type[Any], prefix: str = "") -> Iterator[str]:
    for name, kind in keys(model).items():
        for inner, suffix in _models(kind):
            path = f"{prefix}{name}{suffix}"
            yield f"### `{path}`\n"
            yield _table(inner)
            yield from _nested(inner, f"{path}.")


def _models(kind: Any) -> Iterator[tuple[type[Any], str]]:
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind, ""
        return
    mapping = isinstance(get_origin(kind), type) and issubclass(typing.cast("type", get_origin(kind)), Mapping)
    for argument in get_args(kind):
        yield from ((model, ".NAME" if mapping else suffix or "[]") for model, suffix in _models(argument))


def _timeouts() -> str:
    rows = [f"| `{name}` | `{written(seconds)}` |" for name, seconds in TIMEOUTS.items()]
    return "\n".join(["### `timeouts` of the kernel\n", "| name | default |", "|---|---|", *rows, ""])


def _default(model: type[Any], name: str, kind: Any) -> str:
    value = default_of(model, name)
    if is_dataclass(value) or (model is Settings and name == "timeouts"):
        return "see below"
    shown = plain(value, kind)
    shown = str(shown).lower() if isinstance(shown, bool) else shown
    return f"`{shown}`" if shown not in ("", None, [], {}) else "empty" if shown is not None else "none"


def _named(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "duration" if SECONDS in arguments else "size" if BYTES in arguments else _named(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{each}`" for each in arguments if each != "")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(f"`{each.value}`" for each in kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return "section"
    if origin is not None and arguments:
        return _composed(origin, arguments)
    return {str: "text", int: "number", float: "number", bool: "`true` or `false`"}.get(kind, "any")


def _composed(origin: Any, arguments: tuple[Any, ...]) -> str:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"section of {_named(arguments[1])} by name"
    if isinstance(origin, type) and issubclass(origin, Sequence | frozenset):
        return f"list of {_named(arguments[0])}"
    return " or ".join(_named(each) for each in arguments if each is not type(None))


def _first_line(kind: Any) -> str:
    return str(kind.__doc__).strip().splitlines()[0] if isinstance(kind, type) and is_dataclass(kind) else ""


def main() -> None:
    """Print the page for the plugins of Corten itself."""
    from corten.plugin.loader import discover

    sys.stdout.write(reference([each.registration for each in discover() if each.builtin and each.error is None]))


if __name__ == "__main__":
    main()
