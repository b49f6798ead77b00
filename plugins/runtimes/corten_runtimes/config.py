"""The settings of the plugins in this package."""

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class BinaryConfig:
    """Settings of shims that are programs; containerd has them at `io.containerd.shim.v1.manager`."""

    env: tuple[str, ...] = ()
    """Environment that such shims get besides the daemon's: NAME=VALUE."""
    socket_dir: str = ""
    """Where shims since containerd 2.3 make their sockets: an absolute path of at most 42 bytes; empty: their own."""


@dataclass(frozen=True, slots=True)
class RuncConfig:
    """Settings of the own shim."""

    shim: str = "own"
    """`own` forks Corten's shim from the zygote; `binary` runs `containerd-shim-runc-v2` from PATH."""
    runc: str = "runc"
    """The OCI runtime, unless a container's options name another: a name on PATH or an absolute path."""
    runc_root: str = ""
    """Where runc keeps its state, with a folder for each namespace; empty: `runc` in the state directory."""
    max_execs: int = 512
    """Execs that a container may have at a time, those that have ended but are not deleted too."""
    runc_deadline: float = 120.0
    """Seconds that one run of it may take, hooks and all; then it is killed, and the call that needed it fails."""
