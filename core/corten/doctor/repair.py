"""Repairs, one for each kind of action. All of them block, but for collecting, which is the daemon's to do."""

import os
import shutil
import subprocess
from pathlib import Path

from corten.errors import FailedPrecondition, Unknown, mapped
from corten.linux import mount, processes
from corten.linux.removal import remove_tree

from .model import Action, Finding

DEADLINE = 30.0
"""Seconds that runc may take."""


def apply(finding: Finding) -> None:
    """Do what the finding's action says. Raises Unknown, FailedPrecondition for what cannot be done."""
    match finding.action:
        case Action.KILL:
            _kill(finding)
        case Action.DELETE_CONTAINER:
            _delete_container(finding.target)
        case Action.UNMOUNT:
            mount.unmount_all(finding.target)
        case Action.REMOVE_FOLDER:
            with mapped(f"remove {finding.target}"):
                mount.unmount_all(finding.target)
                mount.ensure_unmounted(finding.target)
                remove_tree(finding.target)
        case Action.REMOVE_CGROUP:
            _remove_cgroup(Path(finding.target))
        case Action.COLLECT:
            raise FailedPrecondition("collecting garbage is asked of the daemon")


def _kill(finding: Finding) -> None:
    if finding.process is not None and not processes.kill(finding.process):
        raise Unknown(f"process {finding.process.pid}: it does not end by SIGKILL (a device may be stuck)")


def _delete_container(path: str) -> None:
    root, id = os.path.split(path)
    runc = shutil.which("runc")
    if runc is None:
        raise FailedPrecondition("runc is not installed, which has the container")
    done = subprocess.run(
        [runc, "--root", root, "delete", "--force", id], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    if done.returncode and os.path.exists(path):
        raise Unknown(f"runc delete --force {id}: {done.stderr.strip()}")


def _remove_cgroup(cgroup: Path) -> None:
    """Its own children first: a cgroup is a folder that only rmdir(2) removes."""
    with mapped(f"remove the cgroup {cgroup}"):
        for child in cgroup.iterdir():
            if child.is_dir():
                _remove_cgroup(child)
        cgroup.rmdir()
