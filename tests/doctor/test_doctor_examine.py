"""What the doctor takes for lost, decided from facts made by hand."""

from dataclasses import replace

import pytest
from corten.doctor.examine import findings
from corten.doctor.model import Action, Bundle, Host, Known
from corten.linux.processes import Process

KEY = ("ns", "web")
STATE = "/run/corten/tasks"
KNOWN = Known(
    address="/run/c.sock",
    state=STATE,
    namespaces=frozenset({"ns"}),
    tasks=frozenset({KEY}),
    pids=frozenset({100}),
    digests=frozenset({"sha256:a"}),
    snapshots={"overlayfs": 2},
)
BUNDLE = Bundle(KEY, f"{STATE}/ns/web", shim=50)
LIVING = Host(
    bundles=(BUNDLE,),
    shims=(Process(50, 1, "containerd-shim-corten -namespace ns -id pod -address /run/c.sock"),),
    runc=((KEY, "/run/corten/runc/ns"),),
    mounts=(f"{STATE}/ns/web/rootfs",),
    cgroups=((KEY, "/sys/fs/cgroup/memory/ns/web"),),
    blobs={"sha256:a": 1},
    snapshot_folders={"overlayfs": 2},
)


def test_what_lives_is_left_alone() -> None:
    assert findings(KNOWN, LIVING) == []


@pytest.mark.parametrize(
    ("shim", "children"),
    [
        (Process(51, 1, "/usr/bin/containerd-shim-runc-v2 -namespace ns -id web -address /x"), frozenset()),
        (Process(51, 1, "/usr/bin/containerd-shim-runc-v2 -namespace ns -id gone -address /x"), frozenset({100})),
    ],
)
def test_any_sign_of_a_task_keeps_a_shim(shim: Process, children: frozenset[int]) -> None:
    assert findings(KNOWN, replace(LIVING, shims=(shim,), children={51: children})) == []


def test_everything_that_belongs_to_nobody_is_found() -> None:
    ghost = ("ns", "ghost")
    host = Host(
        bundles=(BUNDLE, Bundle(ghost, f"{STATE}/ns/ghost")),
        shims=(Process(60, 1, "containerd-shim-corten -namespace ns -id ghost -address /run/c.sock"),),
        children={60: frozenset({61})},
        runc=((ghost, "/run/corten/runc/ns"),),
        mounts=(f"{STATE}/ns/ghost/rootfs", f"{STATE}/ns/other/rootfs", STATE),
        temporary=("/tmp/corten-mount-x",),
        cgroups=((ghost, "/sys/fs/cgroup/memory/ns/ghost"),),
        blobs={"sha256:a": 1, "sha256:b": 5},
        snapshot_folders={"overlayfs": 3},
    )
    found = {(each.kind, each.action, each.target) for each in findings(KNOWN, host)}
    assert found == {
        ("shim", Action.KILL, "60"),
        ("runc container", Action.DELETE_CONTAINER, "/run/corten/runc/ns/ghost"),
        ("bundle", Action.REMOVE_FOLDER, f"{STATE}/ns/ghost"),
        ("mount", Action.UNMOUNT, f"{STATE}/ns/other/rootfs"),
        ("temporary mount", Action.REMOVE_FOLDER, "/tmp/corten-mount-x"),
        ("cgroup", Action.REMOVE_CGROUP, "/sys/fs/cgroup/memory/ns/ghost"),
        ("content", Action.COLLECT, ""),
        ("snapshot", Action.COLLECT, ""),
    }
    assert all(each.why and each.remedy for each in findings(KNOWN, host))


def test_while_something_is_written_nothing_is_said_of_blobs() -> None:
    assert findings(replace(KNOWN, ingests=True), replace(LIVING, blobs={"sha256:b": 5})) == []
