"""Signals by the names that images and requests use for them."""

from __future__ import annotations

import re
import signal

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument

_REALTIME = re.compile(r"RT(MIN|MAX)(?:([+-])(\d{1,2}))?")
_ALIASES = {"CLD": "CHLD", "POLL": "IO", "IOT": "ABRT"}
RTMIN, RTMAX = 34, 64


def number(text: str) -> int:
    """`SIGTERM`, `term`, `15`, `SIGRTMIN+3`. Raises InvalidArgument."""
    if text.isascii() and text.isdigit():
        found = int(text)
    elif (name := text.upper().removeprefix("SIG")) and (match := _REALTIME.fullmatch(name)):
        offset = int(match[3] or 0) * (-1 if match[2] == "-" else 1)
        found = (RTMIN if match[1] == "MIN" else RTMAX) + offset
    else:
        found = int(getattr(signal, f"SIG{_ALIASES.get(name, name)}", 0)) if name else 0
    if not 0 < found <= RTMAX:
        raise InvalidArgument(f"stop signal {text!r}: there is no such signal (write SIGTERM, 15, or SIGRTMIN+3)")
    return found


def wanted(message: int) -> str:
    """The name of a signal in a request; empty for the default. Raises InvalidArgument for one that does not exist."""
    if message == pb.RUNTIME_DEFAULT:
        return ""
    try:
        return str(pb.Signal.Name(message)).replace("MINPLUS", "MIN+").replace("MAXMINUS", "MAX-")
    except ValueError as error:
        raise InvalidArgument(f"stop signal {message}: there is no such signal") from error


def told(text: str) -> int:
    """The signal of the protocol for a name as images have it; the default for one that it does not have."""
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if text.isdigit():
        name = next((each.name for each in signal.Signals if each.value == int(text)), "")
    wire = name.replace("MIN+", "MINPLUS").replace("MAX-", "MAXMINUS")
    return int(pb.Signal.Value(wire)) if wire in pb.Signal.keys() else int(pb.RUNTIME_DEFAULT)  # noqa: SIM118
