"""The helper that makes the namespaces of one pod, in a process of its own forked from the zygote.

A namespace belongs to the user namespace of the process that makes it, and cannot be left again by a thread that other
work shares. So the helper makes what the pod wants, pins it, and ends. With a user namespace a child does the making:
only a process inside may set the name and the sysctls, and only one outside may write the maps and mount.
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence

from corten.errors import AlreadyExists, CortenError, Internal, InvalidArgument, from_code, mapped
from corten.linux import syscalls as kernel

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import loopback, pins, sysctls
from .model import IdMap, PodNamespaces

_FLAGS = {"net": kernel.CLONE_NEWNET, "ipc": kernel.CLONE_NEWIPC, "uts": kernel.CLONE_NEWUTS}
_ERROR_MAX = 8192
"""Bytes of an error that a child may tell."""


def make(payload: bytes, fds: Sequence[int]) -> bytes:
    """Make, set up and pin what `payload` (a `PodNamespaces`) asks for. On failure nothing stays pinned."""
    wanted = PodNamespaces.from_json(payload)
    for path in wanted.pins.namespaces().values():
        if os.path.lexists(path):
            raise AlreadyExists(f"pin {path}: it is there already; namespaces are made once")
    try:
        if wanted.pins.shm:
            pins.mount_shm(wanted.pins.shm, wanted.shm_size)
        if wanted.pins.user:
            _with_user_namespace(wanted)
        else:
            _enter_new(wanted)
            if wanted.pins.sys:
                pins.mount_sys(wanted.pins.sys)
            _hold(wanted, os.getpid())
    except BaseException:
        pins.release(wanted.pins)
        raise
    return b""


def finish(payload: bytes, fds: Sequence[int]) -> bytes:
    """Set the sysctls in `payload` (name to value) in the network namespace `fds[0]`, as the root of `fds[1]` if given.

    For those of interfaces, which CNI makes after the namespace.
    """
    with mapped("enter the pod's network namespace"):
        kernel.setns(fds[0], kernel.CLONE_NEWNET)
        if len(fds) > 1:
            kernel.setns(fds[1], kernel.CLONE_NEWUSER)
            _become_root()
    _set_sysctls(json.loads(payload))
    return b""


def _with_user_namespace(wanted: PodNamespaces) -> None:
    """Child: unshare, wait for the maps, make the rest, say so, stay until all is pinned."""
    told, tell = os.pipe()
    awaited, permit = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        os.close(permit)
        _inside(wanted, tell, awaited)
    os.close(tell)
    os.close(awaited)
    try:
        _listen(told)
        _map_ids(child, "uid", wanted.uids)
        _map_ids(child, "gid", wanted.gids)
        os.write(permit, b"m")
        _listen(told)
        _hold(wanted, child)
    finally:
        os.close(permit)
        os.close(told)
        os.waitpid(child, 0)


def _inside(wanted: PodNamespaces, tell: int, awaited: int) -> None:
    """The child; it never returns. It ends when the parent lets go of `awaited`'s other end."""

    def enter_user() -> None:
        kernel.unshare(kernel.CLONE_NEWUSER)

    def enter_others() -> None:
        if not os.read(awaited, 1):
            os._exit(1)
        _become_root()
        _enter_new(wanted)

    try:
        if all(_tell(tell, step) for step in (enter_user, enter_others)):
            os.read(awaited, 1)
    finally:
        os._exit(0)


def _tell(tell: int, step: Callable[[], None]) -> bool:
    """Run a step and report: an empty message, or its error."""
    report: list[object] = []
    try:
        with mapped("make the pod's user namespace"):
            step()
    except CortenError as error:
        report = [error.code, error.message[: _ERROR_MAX // 8]]
    except Exception as error:
        report = [Internal.code, f"{type(error).__name__}: {error}"[: _ERROR_MAX // 8]]
    os.write(tell, json.dumps(report).encode() + b"\n")
    return not report


def _listen(told: int) -> None:
    text = os.read(told, _ERROR_MAX)
    if not text:
        raise Internal("the process inside the pod's user namespace ended before it was set up")
    report = json.loads(text)
    if report:
        raise from_code(report[0], report[1])


def _map_ids(child: int, kind: str, maps: Sequence[IdMap]) -> None:
    lines = "".join(f"{line.container} {line.host} {line.size}\n" for line in maps)
    action = f"map the {kind}s of the pod's user namespace ({lines.strip()})"
    with mapped(action), open(f"/proc/{child}/{kind}_map", "w") as file:
        file.write(lines)


def _become_root() -> None:
    try:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        raise InvalidArgument(f"user namespace: id 0 inside must be mapped to an id of the host: {error}") from None


def _enter_new(wanted: PodNamespaces) -> None:
    """Unshare what is wanted besides a user namespace, and set it up."""
    kinds = wanted.pins.namespaces()
    flags = [flag for kind, flag in _FLAGS.items() if kind in kinds]
    with mapped(f"make namespaces {', '.join(kinds)}"):
        for flag in flags:
            kernel.unshare(flag)
        if "net" in kinds:
            loopback.bring_up()
        if "uts" in kinds and wanted.hostname:
            socket.sethostname(wanted.hostname)
    _set_sysctls(sysctls.at_once(wanted.sysctls))


def _set_sysctls(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        with mapped(f"set sysctl {name} of the pod to {value!r}"):
            fd = os.open(f"/proc/sys/{sysctls.file_of(name)}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)


def _hold(wanted: PodNamespaces, pid: int) -> None:
    for kind, path in wanted.pins.namespaces().items():
        pins.hold(f"/proc/{pid}/ns/{kind}", path)
