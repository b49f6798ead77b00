"""The files of a pod: hostname, hosts and resolv.conf, which its containers see in /etc. Blocking."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import mapped

HOSTNAME, HOSTS, RESOLV_CONF = "hostname", "hosts", "resolv.conf"


def folder(root: Path, id: str) -> Path:
    """Where they lie."""
    return root / "sandboxes" / id


def write(directory: Path, config: pb.PodSandboxConfig) -> None:
    """Make the folder and the files; what is there is replaced. Raises what the file system refuses."""
    with mapped(f"write the files of the pod in {directory}"):
        os.makedirs(directory, 0o700, exist_ok=True)
        _write(directory / HOSTNAME, f"{config.hostname or socket.gethostname()}\n")
        _write(directory / HOSTS, _text("/etc/hosts"))
        _write(directory / RESOLV_CONF, resolv_conf(config))


def resolv_conf(config: pb.PodSandboxConfig) -> str:
    """As the request says, or else the host's."""
    if not config.HasField("dns_config"):
        return _text("/etc/resolv.conf")
    dns = config.dns_config
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "".join(f"{line}\n" for line in lines)


def remove(*directories: Path) -> None:
    """Take folders away with all that is in them; harmless if they are gone."""
    for directory in directories:
        with mapped(f"remove {directory}"):
            try:
                shutil.rmtree(directory)
            except FileNotFoundError:
                continue


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)
