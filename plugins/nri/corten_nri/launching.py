"""Plugins that are started with the daemon: found in a folder, each with a connected socket as descriptor 3."""

import logging
import os
import signal
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

from corten.errors import CortenError, Unavailable, Unimplemented
from corten.values import dataclass

from . import names

assert sys.platform != "win32"

log = logging.getLogger(__name__)

MAX_SETTINGS = 1 << 20
"""Bytes of a plugin's configuration."""
_WASM = b"\0asm\1\0\0\0"
_SOCKET = 3


@dataclass(frozen=True, slots=True)
class Installed:
    """A program in the folder, and its configuration."""

    path: Path
    index: str
    base: str
    settings: str


@dataclass(frozen=True, slots=True)
class Launched:
    """A running program, and the daemon's end of its socket."""

    pid: int
    sock: socket.socket


def installed(folder: str, settings: str) -> list[Installed]:
    """By name. What is no program or has no proper name is logged and left out. Blocks."""
    found = []
    with suppress(FileNotFoundError):
        for path in sorted(Path(folder).iterdir()):
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode) or not mode & 0o111:
                continue
            try:
                index, base = names.split(path.name)
                found.append(Installed(path, index, base, _settings(Path(settings), path.name, base)))
            except (CortenError, OSError, UnicodeDecodeError) as error:
                log.error("NRI plugin %s: it is not started: %s", path, error)
    return found


def launch(program: Installed) -> Launched:
    """Start it. Raises Unavailable, Unimplemented for one in WebAssembly. Blocks."""
    with program.path.open("rb") as file:
        if file.read(len(_WASM)) == _WASM:
            raise Unimplemented(f"NRI plugin {program.path}: plugins in WebAssembly are not run")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        pid = os.posix_spawn(
            program.path,
            [str(program.path)],
            {
                "NRI_PLUGIN_NAME": program.base,
                "NRI_PLUGIN_IDX": program.index,
                "NRI_PLUGIN_SOCKET": str(_SOCKET),
            },
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET),
            ],
            setpgroup=0,
            setsigmask=(),
        )
    except OSError as error:
        ours.close()
        raise Unavailable(f"NRI plugin {program.path}: cannot start it: {error}") from error
    finally:
        theirs.close()
    return Launched(pid, ours)


def end(pid: int) -> None:
    """Kill it and wait for it. Blocks for a moment."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _settings(folder: Path, name: str, base: str) -> str:
    for file in (folder / f"{name}.conf", folder / f"{base}.conf"):
        with suppress(FileNotFoundError), file.open(encoding="utf-8") as opened:
            return opened.read(MAX_SETTINGS)
    return ""
