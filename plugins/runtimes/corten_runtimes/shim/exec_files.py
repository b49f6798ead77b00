"""The files of an exec in its container's bundle: the process that runc is to start, and the pid that runc tells."""

import json
import os
import sys

from corten.errors import InvalidArgument, mapped

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import files


def process(bundle: str, exec_id: str) -> str:
    """The path of its OCI process."""
    return f"{bundle}/{exec_id}.process.json"


def pid(bundle: str, exec_id: str) -> str:
    """The path of the file in which runc writes its pid."""
    return f"{process(bundle, exec_id)}.pid"


def write(bundle: str, exec_id: str, spec: bytes, terminal: bool, what: str) -> None:
    """Keep the process for runc. Raises InvalidArgument for one that is not JSON, in words about `what`."""
    try:
        wanted = with_terminal(spec, terminal)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument(f"{what}: the process is not JSON: {error}") from None
    with mapped(what):
        files.write(process(bundle, exec_id), wanted)


def remove(bundle: str, exec_id: str) -> None:
    """They are of no more use."""
    for path in (process(bundle, exec_id), pid(bundle, exec_id)):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def with_terminal(spec: bytes, terminal: bool) -> bytes:
    """An OCI process with its `terminal` set to what the call asks for.

    One that says nothing of it, or says it so already, is passed on unread: parsing costs a shim 300 KiB. Quotes are
    escaped within JSON strings, so the word with its quotes and colon is a key, and a process has no other such key.
    """
    word = b"true" if terminal else b"false"
    if spec.startswith(b"{") and spec.endswith(b"}"):
        if not terminal and b'"terminal"' not in spec:
            return spec
        if spec.count(b'"terminal"') == 1 and (b'"terminal":' + word in spec or b'"terminal": ' + word in spec):
            return spec
    return json.dumps({**json.loads(spec), "terminal": terminal}).encode()
