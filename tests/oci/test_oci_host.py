"""What a spec takes from the host: devices, cgroups, scores, propagation; on trees made for it where hosts vary."""

import os
import stat
from pathlib import Path

import pytest
from corten.errors import FailedPrecondition, InvalidArgument, NotFound
from corten.linux import cgroups, mountinfo, oom, propagation
from corten.linux.cgroups import Mode
from corten.oci import cgroup_paths, devices


def test_a_device_of_this_host() -> None:
    [found] = devices.nodes("/dev/null", "/dev/zilch", "rw")
    assert (found.path, found.type, found.major, found.minor, found.access) == ("/dev/zilch", "c", 1, 3, "rw")
    assert found.mode == stat.S_IMODE(os.stat("/dev/null").st_mode)
    [owned] = devices.owned([found], uid=5)
    assert (owned.uid, owned.gid) == (5, found.gid)


def test_devices_of_a_directory_and_of_the_host() -> None:
    paths = {device.path for device in devices.nodes("/dev", "/inside")}
    assert "/inside/null" in paths
    assert not {p for p in paths if p.startswith(("/inside/pts/", "/inside/shm/")) or p == "/inside/console"}
    assert {"/dev/null", "/dev/full"} <= {device.path for device in devices.of_host()}
    assert devices.rules(devices.of_host()) == []


def test_numbers_of_large_devices_agree_with_the_c_library(tmp_path: Path) -> None:
    node = tmp_path / "node"
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(300, 70_000))
    except PermissionError:
        pytest.skip("this user may not make device nodes")
    [found] = devices.nodes(str(node))
    assert (found.major, found.minor) == (300, 70_000)


def test_links_to_devices_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    [found] = devices.nodes(str(tmp_path / "link"))
    assert (found.path, found.minor) == (str(tmp_path / "link"), 3)


def test_what_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="neither a device"):
        devices.nodes(str(tmp_path / "file"))
    with pytest.raises(NotFound):
        devices.nodes(str(tmp_path / "missing"))
    for access in ("", "rx"):
        with pytest.raises(InvalidArgument):
            devices.nodes("/dev/null", access=access)
    assert devices.nodes(str(tmp_path)) == []


def test_cgroup_modes(tmp_path: Path) -> None:
    assert cgroups.mode(str(tmp_path / "none")) is Mode.NONE
    v1 = tmp_path / "v1"
    for name in ("cpu,cpuacct", "memory", "systemd"):
        (v1 / name).mkdir(parents=True)
    assert cgroups.mode(str(v1)) is Mode.LEGACY
    assert cgroups.controllers(str(v1)) == {"cpu", "cpuacct", "memory"}
    assert not cgroups.has_swap(str(v1)) and not cgroups.has_hugepages(str(v1))
    (v1 / "unified").mkdir()
    (v1 / "unified/cgroup.controllers").write_text("")
    (v1 / "memory/memory.memsw.limit_in_bytes").write_text("0")
    assert cgroups.mode(str(v1)) is Mode.HYBRID
    assert cgroups.has_swap(str(v1))


def test_cgroups_of_version_two(tmp_path: Path) -> None:
    root = tmp_path / "v2"
    (root / "mine").mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpu memory hugetlb\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/mine\n")
    assert cgroups.mode(str(root)) is Mode.UNIFIED
    assert cgroups.has_hugepages(str(root))
    assert not cgroups.has_swap(str(root), str(own))
    (root / "mine/memory.swap.max").write_text("max\n")
    assert cgroups.has_swap(str(root), str(own))


@pytest.mark.parametrize(
    ("parent", "path", "directory"),
    [
        ("", "/id", "/id"),
        ("/pods/a", "/pods/a/id", "/pods/a/id"),
        ("pods", "/pods/id", "/pods/id"),
        ("/a.slice/a-b.slice", "a-b.slice:cri-containerd:id", "/a.slice/a-b.slice/cri-containerd-id.scope"),
        ("-.slice", "-.slice:cri-containerd:id", "/cri-containerd-id.scope"),
    ],
)
def test_cgroup_paths(parent: str, path: str, directory: str) -> None:
    assert cgroup_paths.below(parent, "id") == path
    assert cgroup_paths.in_hierarchy(path) == directory
    assert cgroup_paths.is_systemd(path) == (":" in path)


def test_cgroup_paths_stay_below() -> None:
    with pytest.raises(InvalidArgument):
        cgroup_paths.below("/a/../..", "id")
    for bad in ("a--b.slice", "a", "x/y.slice"):
        with pytest.raises(InvalidArgument):
            cgroup_paths.expanded(bad)


def process_of(folder: Path, effective: str, score: int, ids: str = "0 0 4294967295") -> str:
    (folder / "status").write_text(f"Name:\tx\nCapEff:\t{effective}\n")
    (folder / "oom_score_adj").write_text(f"{score}\n")
    (folder / "uid_map").write_text(f"         {ids}\n")
    return str(folder)


def test_scores_are_what_this_process_may_set(tmp_path: Path) -> None:
    assert oom.clamped(-998, process_of(tmp_path, "000001ffffffffff", 0)) == -998
    assert oom.clamped(-998, process_of(tmp_path, "000001fffeffffff", 0)) == 0
    assert oom.clamped(-998, process_of(tmp_path, "000001ffffffffff", 5, "0 100000 65536")) == 5
    assert oom.clamped(2000, process_of(tmp_path, "0", 0)) == 1000


def test_propagation_is_looked_up() -> None:
    lines = (
        b"1 0 0:1 / / rw - ext4 /dev/a rw\n",
        b"2 1 0:2 / /shared rw shared:5 - tmpfs tmpfs rw\n",
        b"3 1 0:3 / /slave rw master:5 propagate_from:2 - tmpfs tmpfs rw\n",
    )
    found = [mountinfo.parse(line) for line in lines]
    assert found[2].optional == ("master:5", "propagate_from:2") and found[2].fstype == "tmpfs"
    assert mountinfo.holding("/shared/x", found).target == "/shared"
    assert mountinfo.holding("/sharedx", found).target == "/"
    propagation.check("/shared", "rshared", found)
    propagation.check("/slave", "rslave", found)
    propagation.check("/", "rprivate", found)
    for source, kind in (("/slave", "rshared"), ("/", "rslave")):
        with pytest.raises(FailedPrecondition, match="make-rshared"):
            propagation.check(source, kind, found)
