"""Networks for tests: fake plugins that write down how they were called, and real ones with a host of their own.

The real plugins run in a network namespace that stands for the host, so that bridges, addresses and iptables rules of a
test are its own and go with it.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten_cri.cni.network import CniNetwork
from corten_cri.cni.settings import DEFAULT, NetworkSettings
from corten_cri.contracts import PodNetwork

REAL = Path("/usr/lib/cni")
RESULT = '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0"}],"ips":[{"address":"10.9.8.7/24","interface":0}]}'
"""What a fake plugin answers to ADD."""
FAKE = """#!/bin/sh
here={folder}
plugin=$(basename "$0")
input=$(cat)
form='{{"plugin":"%s","command":"%s","container":"%s","netns":"%s","ifname":"%s","args":"%s","path":"%s","input":%s}}'
[ "$CNI_COMMAND" = VERSION ] || printf "$form\\n" "$plugin" "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" \\
    "$CNI_IFNAME" "$CNI_ARGS" "$CNI_PATH" "$input" >> $here/calls
[ -f "$here/does/$plugin.$CNI_COMMAND" ] && . "$here/does/$plugin.$CNI_COMMAND"
[ "$CNI_COMMAND" = ADD ] && echo '{result}'
exit 0
"""


@dataclass
class World:
    """A folder with plugins, configuration and records; `network` makes a daemon's view of it, again after a crash."""

    folder: Path
    pools: Pools
    supervisor: Supervisor
    settings: NetworkSettings = field(init=False)

    def __post_init__(self) -> None:
        for name in ("bin", "conf", "does"):
            (self.folder / name).mkdir()
        folders = {DEFAULT: (str(self.folder / "conf"), 1)}
        self.settings = NetworkSettings(folders, (str(self.folder / "bin"),), deadline=20.0)

    def fake(self, *names: str) -> None:
        """Plugins that answer ADD with an address."""
        for name in names:
            program = self.folder / "bin" / name
            program.write_text(FAKE.format(folder=self.folder, result=RESULT))
            program.chmod(0o755)

    def does(self, plugin: str, command: str, script: str) -> None:
        """What a fake plugin does before it answers; `exit` there ends it."""
        (self.folder / "does" / f"{plugin}.{command}").write_text(script)

    def no_longer(self, plugin: str, command: str) -> None:
        (self.folder / "does" / f"{plugin}.{command}").unlink()

    def configure(self, name: str, document: Mapping[str, Any] | str) -> Path:
        """A file in the configuration folder."""
        file = self.folder / "conf" / name
        file.write_text(document if isinstance(document, str) else json.dumps(document))
        return file

    def network_of(self, *types: str, version: str = "1.0.0", **more: object) -> None:
        """The configuration of one network with fake plugins."""
        self.fake(*types)
        plugins = [{"type": each} for each in types]
        self.configure("10-test.conflist", {"cniVersion": version, "name": "test", "plugins": plugins, **more})

    async def network(self, **changes: Any) -> CniNetwork:
        made = CniNetwork(
            self.pools, self.supervisor, self.folder / "root", replace(self.settings, **changes), pause=0.05
        )
        await made.start()
        return made

    def calls(self, command: str = "") -> list[dict[str, Any]]:
        """How fake plugins were called, in order."""
        file = self.folder / "calls"
        made = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [call for call in made if not command or call["command"] == command]

    def sequence(self) -> list[str]:
        return [f"{call['command']} {call['plugin']}" for call in self.calls()]

    def records(self) -> list[str]:
        return sorted(each.stem for each in (self.folder / "root" / "attachments").glob("*.json"))

    def pod(self, id: str = "pod1", netns: str = "/proc/self/ns/net", **config: Any) -> PodNetwork:
        metadata = pb.PodSandboxMetadata(name="web", namespace="prod", uid="u-1")
        return PodNetwork(id, netns, "runc", pb.PodSandboxConfig(metadata=metadata, **config))


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    pools, supervisor = Pools(), Supervisor()
    try:
        yield World(folder, pools, supervisor)
    finally:
        await supervisor.close(0.1)
        pools.close()


async def until(condition: Any, what: str, seconds: float = 15.0) -> None:
    """Wait until `condition()` holds."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Host:
    """A network namespace that stands for the host, and pods' beside it."""

    folder: Path

    @property
    def netns(self) -> str:
        return str(self.folder / "host")

    def install(self, bin: Path) -> None:
        """The real plugins, each run in the namespace that stands for the host."""
        for program in REAL.iterdir():
            wrapper = bin / program.name
            wrapper.write_text(f"#!/bin/sh\nexec nsenter --net={self.netns} {program}\n")
            wrapper.chmod(0o755)

    def add(self, name: str) -> str:
        """A new network namespace; its path."""
        path = self.folder / name
        path.touch()
        subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True, timeout=20)
        return str(path)

    def remove(self, name: str) -> None:
        subprocess.run(["umount", "-l", str(self.folder / name)], check=True, timeout=20)
        (self.folder / name).unlink()

    def run(self, netns: str, *command: str) -> str:
        """What a command prints in a network namespace."""
        result = subprocess.run(
            ["nsenter", f"--net={netns}", *command], capture_output=True, text=True, check=True, timeout=20
        )
        return result.stdout

    def start(self, netns: str, *command: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["nsenter", f"--net={netns}", *command])


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    if not (REAL / "bridge").exists():
        pytest.skip(f"the CNI plugins are not in {REAL} (Debian: containernetworking-plugins)")
    folder.mkdir()
    made = Host(folder)
    made.add("host")
    try:
        yield made
    finally:
        for name in os.listdir(folder):
            made.remove(name)
