"""`corten pull`, `push` and `export` through the daemon's transfers; a multi-platform image and a large layer."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        images.push(images.write_layout(folder / "five"), f"{address}/lib/five:v1")
        yield address


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


def said(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def inspected(name: str) -> str:
    argv = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_there_and_back(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    name, copy = f"{registry}/lib/five:v1", f"{registry}/copy/five:v2"
    digest = said(daemon.corten("pull", name)).split()[1]
    assert digest == inspected(name)
    assert said(daemon.corten("push", name, copy)) == copy
    assert inspected(copy) == digest
    archive = tmp_path / "five.tar"
    said(daemon.corten("export", str(archive), name))
    listed = said(daemon.corten("import", str(archive), namespace="other"))
    assert listed == f"{name} {digest}"
    assert said(daemon.corten("run", "--rm", name, "cat", "/data/changed", namespace="other")) == "second"


def test_what_fails_says_so_in_one_line(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    done = daemon.corten("pull", f"{registry}/lib/none:v1")
    assert done.returncode != 0
    assert "not found there" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = daemon.corten("push", "none", f"{registry}/x:y")
    assert "there is no such image" in done.stderr
    done = daemon.corten("export", str(tmp_path / "x"), "none")
    assert "there is no such image" in done.stderr


def test_the_settings_of_the_daemon_count(registry: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts" / "mirrored.example"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'server = "https://127.0.0.1:1"\n[host."http://{registry}"]\n')
    plugins = {"io.containerd.transfer.v1.local": {"config_path": str(tmp_path / "hosts")}}
    with running_daemon(config=json.dumps({"version": 4, "plugins": plugins})) as other:
        assert said(other.corten("pull", "mirrored.example/lib/five:v1")).startswith("mirrored.example/lib/five:v1 ")
