"""One daemon, one registry and one image for all end-to-end tests of a worker; each test has its own namespace.

With CORTEN_E2E_PEER=containerd the same tests drive Debian's containerd, to see that they ask for the right thing.
"""

import os
from collections.abc import Iterator
from itertools import count

import images
import peers
import pytest
from daemon import remove_cgroups, running_daemon
from nodes import Node

PEER = os.environ.get("CORTEN_E2E_PEER", "corten")
_numbers = count(1)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The five-layer image, pushed to a real registry."""
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder) as host:
        ref = f"{host}/test/five:latest"
        images.push(images.write_layout(folder / "layout"), ref)
        yield ref


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, reference: str) -> Iterator[Node]:
    """A daemon that all tests of this worker share."""
    if PEER == "containerd":
        folder = tmp_path_factory.mktemp("d")
        with peers.containerd(folder) as address:
            yield Node(address, folder, reference, 0)
        return
    with running_daemon() as daemon:
        yield Node(daemon.address, daemon.folder, reference, daemon.pid)


@pytest.fixture
def ctr(node: Node) -> Iterator[peers.Ctr]:
    """ctr in a namespace of its own, which is emptied afterwards."""
    namespace = f"e2e-{os.getpid()}-{next(_numbers)}"
    client = node.ctr(namespace)
    yield client
    clear(client)


@pytest.fixture
def pulled(ctr: peers.Ctr, node: Node) -> str:
    """The image's reference, pulled into the test's namespace."""
    ctr("images", "pull", "--plain-http", node.image)
    return node.image


def clear(ctr: peers.Ctr) -> None:
    """Remove everything of a namespace, the namespace too."""
    for task in ctr("tasks", "ls", "-q").split():
        ctr.try_("tasks", "rm", "-f", task)
    for container in ctr("containers", "ls", "-q").split():
        ctr.try_("containers", "rm", container)
    for name in ctr("leases", "ls", "-q").split():
        ctr.try_("leases", "rm", name)
    for image in ctr("images", "ls", "-q").split():
        ctr("images", "rm", "--sync", image)
    for snapshotter in ("overlayfs", "native"):
        remove_snapshots(ctr, snapshotter)
    for digest in ctr("content", "ls", "-q").split():
        ctr.try_("content", "rm", digest)
    ctr.try_("namespaces", "rm", ctr.namespace)
    remove_cgroups(ctr.namespace)


def remove_snapshots(ctr: peers.Ctr, snapshotter: str) -> None:
    """Leaves first, until nothing is left."""
    argv = ("snapshots", "--snapshotter", snapshotter)
    while names := [line.split()[0] for line in ctr(*argv, "ls").splitlines()[1:]]:
        if not any(ctr.try_(*argv, "rm", name).returncode == 0 for name in names):
            raise AssertionError(f"snapshots of {snapshotter} cannot be removed: {names}")
