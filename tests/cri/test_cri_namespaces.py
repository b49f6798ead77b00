"""Namespaces of pods: made by helpers, held by pins alone, owned by the pod's user namespace, gone without a trace."""

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.errors import AlreadyExists, DeadlineExceeded, InvalidArgument, NotFound
from corten.linux import mountinfo
from corten.pools import Pools
from corten.zygote.client import Zygote
from corten_cri.namespaces import sysctls
from corten_cri.namespaces.model import IdMap, Pins, PodNamespaces, pins_for

if sys.platform == "win32":
    pytest.skip("namespaces are Linux's", allow_module_level=True)

from corten_cri.namespaces.pod_namespaces import PRELOAD, NamespaceMaker

_NS_GET_USERNS = 0xB701
MAPS = (IdMap(0, 200000, 65536),)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote.launch(PRELOAD)
    assert zygote.preload_failures() == {}
    yield zygote
    zygote.close()


@pytest.fixture
def pools() -> Iterator[Pools]:
    pools = Pools()
    yield pools
    pools.close()


@pytest.fixture
def maker(zygote: Zygote, pools: Pools) -> NamespaceMaker:
    return NamespaceMaker(zygote, pools)


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Pins]:
    made = pins_for(tmp_path / "pod", net=True, ipc=True, uts=True, user=True, netns_folder=tmp_path / "netns")
    yield made
    for mount in list(mountinfo.below(str(tmp_path), mountinfo.mounts())):
        run("umount", "-l", mount.target)


def without_user(pins: Pins) -> Pins:
    return Pins(net=pins.net, ipc=pins.ipc, uts=pins.uts, shm=pins.shm)


def inside(pins: Pins, *command: str) -> str:
    """What a command prints in the pod's namespaces."""
    enter = [f"--{kind}={path}" for kind, path in pins.namespaces().items()]
    result = subprocess.run(["nsenter", *enter, *command], capture_output=True, text=True, check=True, timeout=20)
    return result.stdout.strip()


def run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=20)


def pinned_below(folder: Path) -> list[str]:
    return [mount.target for mount in mountinfo.below(str(folder), mountinfo.mounts())]


def users_of(path: str) -> list[str]:
    """Processes that are in the namespace at `path`."""
    wanted = os.stat(path).st_ino
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in ("net", "ipc", "uts", "user"):
            try:
                if os.stat(f"/proc/{pid}/ns/{kind}").st_ino == wanted:
                    found.append(pid)
            except OSError:
                continue
    return found


@pytest.mark.integration
async def test_a_pod_gets_its_own_name_sysctls_and_loopback(maker: NamespaceMaker, pins: Pins, tmp_path: Path) -> None:
    pins = without_user(pins)
    values = {"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1"}
    await maker.make(PodNamespaces(pins, "quiet-pod", values))
    assert maker.missing(pins) == []
    assert inside(pins, "hostname") == "quiet-pod"
    assert inside(pins, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "7"
    assert inside(pins, "cat", "/proc/sys/kernel/shm_rmid_forced") == "1"
    addresses = inside(pins, "ip", "-o", "addr")
    assert "127.0.0.1/8" in addresses
    assert "::1/128" in addresses
    assert all(users_of(path) == [] for path in pins.namespaces().values()), "no process holds them"
    await maker.remove(pins)
    assert pinned_below(tmp_path) == []
    assert not any(os.path.lexists(path) for path in (*pins.namespaces().values(), pins.shm))
    await maker.remove(pins)


@pytest.mark.integration
async def test_the_network_belongs_to_the_pods_user_namespace(maker: NamespaceMaker, pins: Pins) -> None:
    values = {"kernel.msgmax": "4242", "net.ipv4.ip_forward": "0"}
    await maker.make(PodNamespaces(pins, "mapped", values, MAPS, MAPS))
    assert maker.missing(pins) == []
    user = os.stat(pins.user).st_ino
    for path in (pins.net, pins.ipc, pins.uts):
        fd = os.open(path, os.O_RDONLY)
        try:
            owner = fcntl.ioctl(fd, _NS_GET_USERNS)
            assert os.fstat(owner).st_ino == user, path
            os.close(owner)
        finally:
            os.close(fd)
    assert inside(pins, "cat", "/proc/self/uid_map").split() == ["0", "200000", "65536"]
    assert inside(pins, "cat", "/proc/self/gid_map").split() == ["0", "200000", "65536"]
    assert inside(pins, "hostname") == "mapped"
    assert inside(pins, "cat", "/proc/sys/kernel/msgmax") == "4242"
    assert "LOOPBACK,UP" in inside(pins, "ip", "link", "show", "lo")
    assert all(users_of(path) == [] for path in pins.namespaces().values())
    await maker.remove(pins)


@pytest.mark.integration
async def test_the_pods_shared_memory_is_bounded_and_open_to_all(maker: NamespaceMaker, pins: Pins) -> None:
    await maker.make(PodNamespaces(without_user(pins)))
    found = os.stat(pins.shm)
    assert stat.S_IMODE(found.st_mode) == 0o1777
    space = os.statvfs(pins.shm)
    assert space.f_blocks * space.f_frsize == 64 << 20
    (mount,) = [each for each in mountinfo.mounts() if each.target == pins.shm]
    assert (mount.fstype, mount.source) == ("tmpfs", "shm")
    assert {"nosuid", "nodev", "noexec"} <= set(mount.options.split(","))
    await maker.remove(without_user(pins))
    assert not os.path.exists(pins.shm)


@pytest.mark.integration
async def test_what_is_the_hosts_is_not_made(maker: NamespaceMaker, tmp_path: Path) -> None:
    pins = pins_for(tmp_path / "pod", net=False, ipc=False, uts=True)
    await maker.make(PodNamespaces(pins, "only-uts"))
    assert list(pins.namespaces()) == ["uts"]
    assert (pins.net, pins.shm) == ("", "")
    await maker.remove(pins)


@pytest.mark.integration
async def test_a_pin_that_was_taken_away_is_missed(maker: NamespaceMaker, pins: Pins) -> None:
    await maker.make(PodNamespaces(pins, "", {}, MAPS, MAPS))
    run("umount", "-l", pins.uts)
    run("umount", "-l", pins.shm)
    assert maker.missing(pins) == [pins.uts, pins.shm]
    run("mount", "--bind", "/proc/self/ns/uts", pins.uts)
    assert pins.uts in maker.missing(pins), "the host's own namespace is no pod's"
    await maker.remove(pins)
    assert sorted(maker.missing(pins)) == sorted([*pins.namespaces().values(), pins.shm])


@pytest.mark.integration
async def test_removal_finishes_what_was_made_in_part(maker: NamespaceMaker, pins: Pins, tmp_path: Path) -> None:
    await maker.remove(pins)
    Path(pins.net).parent.mkdir(parents=True)
    Path(pins.net).touch()
    Path(pins.shm).mkdir(parents=True)
    run("mount", "-t", "tmpfs", "shm", pins.shm)
    run("mount", "-t", "tmpfs", "shm", pins.shm)
    await maker.remove(pins)
    assert pinned_below(tmp_path) == []
    assert not os.path.lexists(pins.net)


@pytest.mark.integration
@pytest.mark.parametrize("user", [False, True])
async def test_a_sysctl_that_the_kernel_refuses_leaves_nothing(
    maker: NamespaceMaker, pins: Pins, tmp_path: Path, user: bool
) -> None:
    pins = pins if user else without_user(pins)
    maps = MAPS if user else ()
    with pytest.raises(NotFound, match=r"set sysctl net\.ipv4\.no_such_thing of the pod to '1'"):
        await maker.make(PodNamespaces(pins, "x", {"net.ipv4.no_such_thing": "1"}, maps, maps))
    assert pinned_below(tmp_path) == []
    assert not any(os.path.lexists(path) for path in pins.namespaces().values())


@pytest.mark.integration
async def test_a_map_without_root_is_refused_with_the_reason(maker: NamespaceMaker, pins: Pins, tmp_path: Path) -> None:
    maps = (IdMap(5, 200000, 10),)
    with pytest.raises(InvalidArgument, match="id 0 inside must be mapped"):
        await maker.make(PodNamespaces(pins, "x", {}, maps, maps))
    with pytest.raises(InvalidArgument, match="id 0 inside must be mapped"):
        await maker.make(PodNamespaces(pins, "x", {}, (), ()))
    assert pinned_below(tmp_path) == []


@pytest.mark.integration
async def test_making_twice_harms_nothing(maker: NamespaceMaker, pins: Pins) -> None:
    await maker.make(PodNamespaces(without_user(pins), "first"))
    with pytest.raises(AlreadyExists, match="made once"):
        await maker.make(PodNamespaces(without_user(pins), "second"))
    assert inside(without_user(pins), "hostname") == "first"
    await maker.remove(without_user(pins))


@pytest.mark.integration
async def test_a_helper_that_takes_too_long_is_killed_and_cleared_up_behind(
    zygote: Zygote, pools: Pools, pins: Pins, tmp_path: Path
) -> None:
    hasty = NamespaceMaker(zygote, pools, deadline=1e-6)
    with pytest.raises(DeadlineExceeded):
        await hasty.make(PodNamespaces(pins, "x", {}, MAPS, MAPS))
    assert pinned_below(tmp_path) == []
    assert not any(os.path.lexists(path) for path in pins.namespaces().values())


@pytest.mark.integration
@pytest.mark.parametrize("user", [False, True])
async def test_sysctls_of_interfaces_wait_for_the_interfaces(maker: NamespaceMaker, pins: Pins, user: bool) -> None:
    pins = pins if user else without_user(pins)
    maps = MAPS if user else ()
    values = {"net.ipv4.conf.eth0.forwarding": "1", "net/ipv4/conf/eth0.1/forwarding": "1"}
    await maker.make(PodNamespaces(pins, "x", values, maps, maps))
    with pytest.raises(NotFound, match="eth0"):
        await maker.finish(pins, values)
    inside(pins, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0.1")
    await maker.finish(pins, values)
    assert inside(pins, "cat", "/proc/sys/net/ipv4/conf/eth0/forwarding") == "1"
    assert inside(pins, "cat", "/proc/sys/net/ipv4/conf/eth0.1/forwarding") == "1"
    await maker.remove(pins)


async def test_a_pod_cannot_set_sysctls_of_the_host(maker: NamespaceMaker, tmp_path: Path) -> None:
    own = pins_for(tmp_path, net=True, ipc=True, uts=True)
    host = pins_for(tmp_path, net=False, ipc=False, uts=False)
    for name in ("kernel.core_pattern", "vm.swappiness", "kernel.hostname", "fs.file-max", "kernel.sem.x"):
        with pytest.raises(InvalidArgument, match="belongs to no namespace"):
            await maker.make(PodNamespaces(own, "x", {name: "1"}))
    for name in ("net.core.somaxconn", "kernel.sem", "fs.mqueue.msg_max", "kernel.domainname"):
        with pytest.raises(InvalidArgument, match="uses the host's"):
            await maker.make(PodNamespaces(host, "x", {name: "1"}))


@pytest.mark.parametrize(
    "name", ["", "net", "net.", ".net", "net..ipv4", "net/../x", "net/./x", "net.ipv4.\0", "net.a/../b"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="not a name of a sysctl"):
        sysctls.file_of(name)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_names_are_read_as_sysctl_8_does(name: str, file: str) -> None:
    assert sysctls.file_of(name) == file
