"""Activations on the real kernel: chains with devices and templates, failures, crashes, reboots, collections."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import pytest
from corten.contracts.mounts import ActiveMount, Mount, MountHandler
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, CortenError, InvalidArgument, NotFound, Unavailable, Unimplemented
from corten.linux import loop, mount, mountinfo
from corten_mounts.collector import KIND, MountCollector
from corten_mounts.handlers import ErofsHandler, LoopHandler
from corten_mounts.manager import Mounts
from peers import wait_until

pytestmark = pytest.mark.integration
SCOPE = Scope("ns")
Start = Callable[..., Mounts]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() or not os.access(loop.CONTROL, os.W_OK):
        pytest.skip("loop devices and mounts need root")
    (tmp_path / "root").mkdir()
    yield tmp_path / "root"
    mount.unmount_all(tmp_path)
    wait_until(lambda: not devices_of(tmp_path), "the kernel has freed the loop devices")


def devices_of(folder: Path) -> list[str]:
    files = [loop.backing_file(path.name) for path in Path("/sys/block").glob("loop*")]
    return [file for file in files if str(folder) in file]


@pytest.fixture
def start(root: Path) -> Start:
    """A manager on the test's folder, as a daemon of some boot starts it."""

    def started(boot: str = "boot-1", **handlers: MountHandler) -> Mounts:
        (root.parent / "state").mkdir(exist_ok=True)
        known: dict[str, MountHandler] = {"loop": LoopHandler(), "erofs": ErofsHandler(), **handlers}
        made = Mounts(root.parent / "state", known, [root], boot)
        made.recover()
        return made

    return started


def mounted(root: Path) -> list[str]:
    return [m.target for m in mountinfo.mounts() if m.target.startswith(str(root.parent))]


def chain(root: Path) -> list[Mount]:
    """A file system in a file, a device of it, a mount of that, and an overlay on top."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    (root / "lower").mkdir(exist_ok=True)
    (root / "lower/from-below").write_text("below")
    sizes = ("X-containerd.mkfs.size=4MiB", "X-containerd.mkfs.fs=ext4")
    dirs = tuple(f"X-containerd.mkdir.path={{{{ mount 1 }}}}/{name}:0755" for name in ("upper", "work"))
    layers = (f"lowerdir={root}/lower", "upperdir={{ mount 1 }}/upper", "workdir={{ mount 1 }}/work")
    return [
        Mount("mkfs/loop", f"{root}/disk.img", options=sizes),
        Mount("format/ext4", "{{ mount 0 }}"),
        Mount("format/mkdir/overlay", "overlay", options=(*dirs, *layers)),
    ]


def test_a_chain_ends_in_a_mount_for_the_system(root: Path, start: Start) -> None:
    manager = start()
    made = manager.activate(SCOPE, "a", chain(root), labels={"x": "y"})
    assert [each.mount.type for each in made.active] == ["loop", "ext4"] and made.labels == {"x": "y"}
    [system] = made.system
    assert system.type == "overlay" and system.options[0] == f"lowerdir={root}/lower"
    target = root / "target"
    target.mkdir()
    mount.mount_all(made.system, target)
    assert (target / "from-below").read_text() == "below"
    (target / "written").write_text("above")
    mount.unmount_all(target)
    assert (Path(made.active[1].mount_point) / "upper/written").read_text() == "above"
    assert manager.info("ns", "a") == made
    with pytest.raises(AlreadyExists):
        manager.activate(SCOPE, "a", chain(root))
    manager.deactivate("ns", "a")
    assert mounted(root) == []
    with pytest.raises(NotFound):
        manager.deactivate("ns", "a")
    again = manager.activate(SCOPE, "a", chain(root))  # what was written is still in the file
    assert (Path(again.active[1].mount_point) / "upper/written").exists()
    manager.deactivate("ns", "a")


def test_what_needs_nothing_is_refused(root: Path, start: Start) -> None:
    manager = start()
    with pytest.raises(Unimplemented):
        manager.activate(SCOPE, "a", [Mount("bind", str(root))])
    assert not manager.needed([Mount("overlay", "x")]) and manager.needed([Mount("loop", "x")])
    for name, mounts in (("", [Mount("loop", "x")]), ("a", []), ("a\0b", [Mount("loop", "x")])):
        with pytest.raises(InvalidArgument):
            manager.activate(SCOPE, name, mounts)


def test_a_temporary_activation_ends_in_a_bind_mount(root: Path, start: Start) -> None:
    manager = start()
    (root / "file").write_text("here")
    made = manager.activate(SCOPE, "tmp", [Mount("bind", str(root), options=("rbind", "ro"))], temporary=True)
    [system] = made.system
    assert (system.type, system.options) == ("bind", ("rbind",)) and (Path(system.source) / "file").exists()
    manager.deactivate("ns", "tmp")
    assert mounted(root) == []


@pytest.mark.parametrize(
    "last",
    [
        Mount("format/overlay", "{{ mount 9 }}"),
        Mount("no-such-file-system", "/x"),
        Mount("loop", "/no/such/file"),
        Mount("mkdir/bind", "/x", options=("X-containerd.mkdir.path=/etc/evil",)),
    ],
)
def test_a_failure_leaves_nothing(root: Path, start: Start, last: Mount) -> None:
    manager = start()
    good = chain(root)[:2]
    with pytest.raises(CortenError):
        manager.activate(SCOPE, "a", [*good, last, Mount("format/bind", "/x")])
    assert mounted(root) == [] and manager.list("ns") == []
    assert list((root.parent / "state/t").iterdir()) == []
    manager.activate(SCOPE, "a", good)
    manager.deactivate("ns", "a")


def test_another_daemon_finds_what_is_active(root: Path, start: Start) -> None:
    made = start().activate(SCOPE, "a", chain(root))
    second = start()
    assert second.info("ns", "a") == made and len(mounted(root)) == 1
    second.deactivate("ns", "a")
    assert mounted(root) == []


def test_a_reboot_forgets_it(root: Path, start: Start) -> None:
    first = start()
    first.activate(SCOPE, "a", chain(root))
    first.deactivate("ns", "a")
    (root.parent / "state/t/left").mkdir()
    second = start("boot-2")
    assert second.list("ns") == [] and list((root.parent / "state/t").iterdir()) == []


class Stuck:
    """A handler whose daemon dies in the middle."""

    def mount(self, mount: Mount, point: str, active: Sequence[ActiveMount]) -> ActiveMount:
        raise KeyboardInterrupt

    def unmount(self, point: str) -> None:
        raise Unavailable("stuck")


class Gate:
    """A handler whose first mount stands until it is let go, and fails or not; those after it do at once."""

    def __init__(self, *, fails: bool) -> None:
        self.begun, self.go = Event(), Event()
        self._fails = fails

    def mount(self, mount: Mount, point: str, active: Sequence[ActiveMount]) -> ActiveMount:
        first = not self.begun.is_set()
        self.begun.set()
        self.go.wait(30)
        if first and self._fails:
            raise Unavailable("no device")
        return ActiveMount(mount, point, 1)

    def unmount(self, point: str) -> None:
        """Nothing was mounted."""


@pytest.mark.parametrize(("fails", "second_ends"), [(True, None), (False, AlreadyExists)])
def test_a_second_activation_waits_for_how_the_first_one_ends(
    root: Path, start: Start, fails: bool, second_ends: type[CortenError] | None
) -> None:
    gate = Gate(fails=fails)
    manager = start(gate=gate)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(manager.activate, SCOPE, "a", [Mount("gate", "x")])
        assert gate.begun.wait(30)
        second = threads.submit(manager.activate, SCOPE, "a", [Mount("gate", "x")])
        assert not wait([second], timeout=0.3).done
        other = threads.submit(manager.activate, SCOPE, "b", [Mount("bind", str(root))], temporary=True)
        assert other.result(30).name == "b"  # does not wait for the first
        gate.go.set()
        assert isinstance(first.exception(30), Unavailable if fails else type(None))
        assert isinstance(second.exception(30), second_ends or type(None))
    assert [each.name for each in manager.list("ns")] == ["a", "b"]
    for name in ("a", "b"):
        manager.deactivate("ns", name)


def test_a_deactivation_waits_for_the_activation(root: Path, start: Start) -> None:
    gate = Gate(fails=False)
    manager = start(gate=gate)
    with ThreadPoolExecutor(2) as threads:
        made = threads.submit(manager.activate, SCOPE, "a", [Mount("gate", "x")])
        assert gate.begun.wait(30)
        undone = threads.submit(manager.deactivate, "ns", "a")
        assert not wait([undone], timeout=0.3).done
        gate.go.set()
        assert made.result(30).name == "a" and undone.result(30) is None
    assert manager.list("ns") == []


def test_what_was_cut_off_is_undone_at_the_next_start(root: Path, start: Start) -> None:
    manager = start(stuck=Stuck())
    with pytest.raises((KeyboardInterrupt, Unavailable)):
        manager.activate(SCOPE, "a", [*chain(root)[:2], Mount("stuck", "x")])
    assert manager.list("ns") == []
    with pytest.raises(NotFound):
        manager.info("ns", "a")
    start()  # this one has no such handler, and unmounts
    assert mounted(root) == []


def test_a_mount_point_of_no_record_is_taken_away(root: Path, start: Start) -> None:
    manager = start()
    manager.activate(SCOPE, "a", chain(root))
    for record in (root.parent / "state/records").iterdir():
        record.write_text("{")
    assert start().list("ns") == [] and mounted(root) == []


def test_an_erofs_image_is_mounted_from_its_file(root: Path, start: Start) -> None:
    if shutil.which("mkfs.erofs") is None or "erofs" not in Path("/proc/filesystems").read_text():
        pytest.skip("mkfs.erofs or the kernel's erofs is missing")
    (root / "tree").mkdir()
    (root / "tree/file").write_text("in the image")
    subprocess.run(["mkfs.erofs", root / "image", root / "tree"], check=True, capture_output=True)
    manager = start()
    made = manager.activate(SCOPE, "a", [Mount("erofs", f"{root}/image", options=("ro", "loop"))])
    assert (Path(made.active[0].mount_point) / "file").read_text() == "in the image" and made.system == ()
    manager.deactivate("ns", "a")
    with pytest.raises(CortenError):
        manager.activate(SCOPE, "a", [Mount("erofs", f"{root}/tree/file")])
    assert mounted(root) == []


def test_lists_and_labels(root: Path, start: Start) -> None:
    manager = start()
    for name in ("b", "a"):
        manager.activate(SCOPE, name, [Mount("bind", str(root))], temporary=True, labels={"n": name})
    assert [each.name for each in manager.list("ns")] == ["a", "b"]
    assert [each.name for each in manager.list("ns", ["labels.n==b"])] == ["b"]
    assert manager.list("other") == []
    changed = manager.update("ns", manager.info("ns", "a").__class__("a", labels={"k": "v"}), ["labels.k"])
    assert changed.labels == {"n": "a", "k": "v"} == start().info("ns", "a").labels
    with pytest.raises(InvalidArgument):
        manager.update("ns", changed, ["active"])
    for name in ("a", "b"):
        manager.deactivate("ns", name)


def test_the_collector_takes_away_what_nothing_keeps(root: Path, start: Start) -> None:
    manager = start()
    for name in ("kept", "used", "gone"):
        manager.activate(Scope("ns", "lease-1"), name, [Mount("bind", str(root))], temporary=True)
    round = MountCollector(manager).start()
    nodes = {node.key: node for node in round.all()}
    assert set(nodes) == {"kept", "used", "gone"} and {node.kind for node in nodes.values()} == {KIND}
    assert set(round.leased("ns", "lease-1")) == set(nodes.values()) and round.leased("ns", "other") == []
    manager.info("ns", "used")  # after the collection began
    round.remove(nodes["used"])
    round.remove(nodes["gone"])
    round.finish()
    assert [each.name for each in manager.list("ns")] == ["kept", "used"]
    cancelled = MountCollector(manager).start()
    cancelled.remove(nodes["kept"])
    cancelled.cancel()
    cancelled.finish()
    assert len(manager.list("ns")) == 2
    for name in ("kept", "used"):
        manager.deactivate("ns", name)
