"""`cortend oci-hook PROGRAM ARGS…`: a base for hooks of the OCI runtime, which fills in what only the runtime knows.

The container's state comes on stdin, as for every hook. In arguments and environment `{{id}}`, `{{bundle}}`,
`{{rootfs}}`, `{{pid}}`, `{{status}}` and `{{annotation "KEY"}}` are filled in, then the program takes this one's place.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from corten.errors import CortenError, InvalidArgument, NotFound, mapped
from corten.values import dataclass

_EXPRESSION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_CALL = re.compile(r'(id|bundle|rootfs|pid|status)|annotation\s+(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)')
_ERRORS: dict[type[BaseException], type[CortenError]] = {FileNotFoundError: NotFound}


@dataclass(frozen=True, slots=True)
class State:
    """What a hook is told of its container."""

    id: str
    bundle: str
    rootfs: str
    pid: int
    status: str
    annotations: Mapping[str, str]


def run(args: Sequence[str]) -> NoReturn:
    """Become the program. Raises InvalidArgument for a bad state or expression, NotFound for the program.

    A first `--` only parts the program from the verb's own flags, as clients write it.
    """
    args = args[1:] if args[:1] == ["--"] else args
    if not args:
        raise InvalidArgument("oci-hook: give the program to run")
    state = read(sys.stdin.buffer.read())
    command = [fill(word, state) for word in args]
    environment = {key: fill(value, state) for key, value in os.environ.items()}
    with mapped(f"oci-hook: run {command[0]}", _ERRORS):
        os.execve(command[0], command, environment)
    raise AssertionError("execve(2) does not return")


def read(state: bytes) -> State:
    """The state as the runtime gives it, with the root of the bundle's config.json. Raises InvalidArgument."""
    parsed = _object(state, "the state on stdin")
    bundle = str(parsed.get("bundle") or "")
    path = os.path.join(bundle, "config.json")
    with mapped(f"oci-hook: read {path}", _ERRORS), open(path, "rb") as file:
        spec = _object(file.read(), path)
    root = str((spec.get("root") or {}).get("path") or "")
    return State(
        id=str(parsed.get("id") or ""),
        bundle=bundle,
        rootfs=os.path.join(bundle, root),
        pid=int(parsed.get("pid") or 0),
        status=str(parsed.get("status") or ""),
        annotations=parsed.get("annotations") or {},
    )


def fill(text: str, state: State) -> str:
    """`text` with the expressions filled in. Raises InvalidArgument for one that is none."""
    return _EXPRESSION.sub(lambda match: _value(match[1], text, state), text)


def _value(expression: str, text: str, state: State) -> str:
    match = _CALL.fullmatch(expression)
    if match is None:
        raise InvalidArgument(
            f"oci-hook: {text!r}: {expression!r} is none of id, bundle, rootfs, pid, status, annotation"
        )
    if match[1]:
        return str(getattr(state, match[1]))
    quoted = match[2]
    key = match[3] if quoted is None else _unquoted(quoted)
    return str(state.annotations.get(key, ""))


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except ValueError as error:
        raise InvalidArgument(f"oci-hook: {what} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise InvalidArgument(f"oci-hook: {what} is not a JSON object")
    return parsed
