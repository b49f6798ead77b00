"""`ctr` 2.x, whose default pull, push, import, export and tag go through the transfer service.

Debian has none: the environment variable CORTEN_CTR2 names the program, else these tests are skipped.
"""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from daemon import Daemon, running_daemon

CTR2 = os.environ.get("CORTEN_CTR2", "")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(90),
    pytest.mark.skipif(not CTR2, reason="CORTEN_CTR2 does not name a ctr of containerd 2.x"),
]


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


def ctr(daemon: Daemon, namespace: str) -> peers.Ctr:
    return peers.Ctr(daemon.address, namespace, CTR2)


@pytest.mark.parametrize("local", [(), ("--local",)])
def test_pull_run_and_push(daemon: Daemon, registry: str, local: tuple[str, ...]) -> None:
    name, ctr2 = f"{registry}/lib/five:v1", ctr(daemon, f"pull{len(local)}")
    said = ctr2("images", "pull", "--plain-http", *local, "--label", "a=b", name)
    assert "done" in said if local else "Completed pull" in said
    assert "a=b" in ctr2("images", "ls")
    assert "complete (6/6)" in ctr2("images", "check")
    assert ctr2("run", "--rm", name, "one", "cat", "/data/changed") == "second"
    ctr2("images", "push", "--plain-http", *local, f"{registry}/copy/five:v{len(local)}", name)
    ctr2("images", "rm", "--sync", name)
    ctr2("images", "pull", "--plain-http", *local, f"{registry}/copy/five:v{len(local)}")


def test_archives(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    """An export must be whole although this client ends as soon as the transfer is answered."""
    name, ctr2 = f"{registry}/lib/five:v1", ctr(daemon, "archives")
    ctr2("images", "pull", "--plain-http", name)
    ctr2("images", "tag", name, "r.example/five:tagged")
    for number in range(5):
        ctr2("images", "export", f"{tmp_path}/{number}.tar", name, "r.example/five:tagged")
        with tarfile.open(f"{tmp_path}/{number}.tar") as tar:
            assert tar.getnames()[-3:] == ["index.json", "manifest.json", "oci-layout"]
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "4.tar").read_bytes()
    other = ctr(daemon, "others")
    other("images", "import", "--index-name", "all.example/x:1", f"{tmp_path}/0.tar")
    assert set(other("images", "ls", "-q").split()) == {name, "r.example/five:tagged", "all.example/x:1"}
    assert other("run", "--rm", "r.example/five:tagged", "two", "cat", "/data/changed") == "second"


def test_what_fails_says_so(daemon: Daemon, registry: str) -> None:
    ctr2 = ctr(daemon, "fails")
    done = ctr2.try_("images", "pull", "--plain-http", f"{registry}/lib/none:v1")
    assert done.returncode == 1
    assert "not found there" in done.stderr
    done = ctr2.try_("images", "push", "--plain-http", f"{registry}/x/y:v1", "none")
    assert "does not exist" in done.stderr


def test_convert_and_mount(daemon: Daemon, registry: str, tmp_path: Path) -> None:
    name, ctr2 = f"{registry}/lib/five:v1", ctr(daemon, "convert")
    ctr2("images", "pull", "--plain-http", name)
    ctr2("images", "convert", "--oci", "--uncompress", name, "r.example/plain:1")
    assert ctr2("run", "--rm", "r.example/plain:1", "three", "cat", "/data/changed") == "second"
    target = tmp_path / "mounted"
    target.mkdir()
    ctr2("images", "mount", name, str(target))
    try:
        assert (target / "data/changed").read_text() == "second"
    finally:
        ctr2("images", "unmount", "--rm", str(target))
