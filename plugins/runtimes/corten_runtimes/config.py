"""The settings of the plugins in this package."""

from dataclasses import dataclass


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
