"""`containerd-shim-corten-v1`: the flags that containerd gives to a shim, and what they ask for."""

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from corten import __version__
from corten.errors import CortenError, InvalidArgument

from .. import names

assert sys.platform != "win32"

NAME = names.OWN_PROGRAM
RUNTIME = "io.containerd.corten.v1"
_TAKES_VALUE = frozenset({"namespace", "address", "publish-binary", "id", "bundle", "socket", "debug-socket"})
_SWITCHES = frozenset({"v", "version", "info", "debug"})


class Flags(NamedTuple):
    """The command line."""

    values: dict[str, str]
    switches: frozenset[str]
    action: str


def main() -> None:
    """Run the program; an error is one line on standard error, and exit code 1."""
    try:
        run(sys.argv[1:])
    except (CortenError, OSError) as error:
        sys.stderr.write(f"{NAME}: {getattr(error, 'message', '') or error}\n")
        sys.exit(1)


def run(argv: Sequence[str]) -> None:
    """Do what the command line asks. Raises InvalidArgument for one that makes no sense, and what the verbs raise."""
    flags = parse(argv)
    if flags.switches & {"v", "version"}:
        sys.stdout.write(f"{NAME}:\n  Version:  {__version__}\n\n")
    elif "info" in flags.switches:
        from . import info

        _answer(info.info(RUNTIME, sys.stdin.buffer.read()))
    elif not flags.values.get("namespace") or not flags.values.get("id"):
        raise InvalidArgument("the flags -namespace and -id are needed; it is containerd that runs this program")
    elif flags.action == "start":
        from . import starting

        _answer(starting.start(starting.asked(flags.values, os.environ, _input()), os.getcwd()))
    elif flags.action == "delete":
        from . import deleting

        bundle = flags.values.get("bundle") or os.getcwd()
        _answer(deleting.delete(flags.values["namespace"], flags.values["id"], bundle))
    else:
        raise InvalidArgument(f"action {flags.action!r}: not known (start and delete are)")


def parse(argv: Sequence[str]) -> Flags:
    """Flags as Go's package `flag` takes them: one dash or two, the value after `=` or as the next word."""
    values, switches, words = dict[str, str](), set[str](), list(argv)
    while words and words[0].startswith("-"):
        name, equals, value = words.pop(0).lstrip("-").partition("=")
        if name in _SWITCHES:
            switches.add(name)
        elif name not in _TAKES_VALUE:
            raise InvalidArgument(f"flag -{name}: not known")
        elif not equals and not words:
            raise InvalidArgument(f"flag -{name}: it needs a value")
        else:
            values[name] = value if equals else words.pop(0)
    return Flags(values, frozenset(switches), words[0] if words else "")


def _input() -> bytes:
    return b"" if sys.stdin.isatty() else sys.stdin.buffer.read(10 << 20)


def _answer(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
