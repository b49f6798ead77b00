"""An unmodified ctr works the stores: snapshots, content, leases, namespaces, plugins."""

import json
import re
import tarfile
from io import BytesIO
from pathlib import Path
from subprocess import run

import pytest
from peers import Ctr, wait_until

pytestmark = pytest.mark.integration


def test_snapshot_life_cycle(ctr: Ctr) -> None:
    ctr("snapshots", "prepare", "work")
    ctr("snapshots", "commit", "base", "work")
    ctr("snapshots", "prepare", "child", "base")
    rows = {line.split()[0]: line.split()[1:] for line in ctr("snapshots", "ls").splitlines()[1:]}
    assert rows == {"base": ["Committed"], "child": ["base", "Active"]}
    tree = ctr("snapshots", "tree").splitlines()
    assert [line.strip(" \\_└─") for line in tree] == ["base", "child"]
    refused = ctr.try_("snapshots", "rm", "base")
    assert "cannot remove" in refused.stderr or "child" in refused.stderr
    ctr("snapshots", "rm", "child")
    ctr("snapshots", "rm", "base")


def test_snapshot_info_labels_and_usage(ctr: Ctr, pulled: str) -> None:
    name = next(line.split()[0] for line in ctr("snapshots", "ls").splitlines()[1:])
    ctr("snapshots", "label", name, "a=b")
    assert json.loads(ctr("snapshots", "info", name))["Labels"]["a"] == "b"
    usage = ctr("snapshots", "usage").splitlines()
    assert len(usage) == 6


def test_mounts_are_commands_that_work(ctr: Ctr, tmp_path: Path) -> None:
    ctr("snapshots", "prepare", "m")
    command = ctr("snapshots", "mounts", str(tmp_path), "m").split()
    assert command[0] == "mount"
    run(command, check=True)
    run(["umount", str(tmp_path)], check=True)


def test_diff_shows_what_a_container_changed(ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "w", "sh", "-c", "echo new > /data/added; rm /data/kept; ln /data/added /data/added2")
    wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the writer ended")
    layer = run(ctr.argv("snapshots", "diff", "w"), capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(layer)) as tar:
        members = {m.name.strip("/"): m for m in tar}
        added = tar.extractfile(members["data/added"])
        assert added and added.read() == b"new\n"
    assert "data/.wh.kept" in members
    assert members["data/added2"].islnk()
    assert "data/changed" not in members


HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def held(ctr: Ctr) -> None:
    """Let a snapshot refer to what will be ingested: nothing else does, and a collection may begin at any time."""
    ctr("snapshots", "prepare", "holder")
    ctr("snapshots", "label", "holder", f"containerd.io/gc.ref.content.hello={HELLO}")


def lease(ctr: Ctr) -> str:
    """A lease; removing it with --sync is ctr's way to ask for a collection."""
    ctr("leases", "create", "--id", "collect")
    return "collect"


def test_content_get_ingest_and_remove(ctr: Ctr) -> None:
    held(ctr)
    ctr("content", "ingest", "mine", input="hello")
    ctr("leases", "rm", "--sync", lease(ctr))
    assert ctr("content", "ls", "-q").split() == [HELLO]
    assert ctr("content", "get", HELLO) == "hello"
    ctr("content", "label", HELLO, "k=v")
    assert "k=v" in ctr("content", "ls")
    ctr("content", "rm", HELLO)
    assert "not found" in ctr.try_("content", "get", HELLO).stderr


def test_content_of_wrong_digest_is_refused(ctr: Ctr) -> None:
    wrong = "sha256:" + "0" * 64
    refused = ctr.try_("content", "ingest", "--expected-digest", wrong, "--expected-size", "5", "w", input="hello")
    assert refused.returncode != 0
    assert ctr("content", "ls", "-q") == ""


def test_lease_keeps_content_until_it_goes(ctr: Ctr) -> None:
    ctr("leases", "create", "--id", "keep", "--expires", "0", "a=b")
    assert "keep" in ctr("leases", "ls") and "a=b" in ctr("leases", "ls")
    assert "already exists" in ctr.try_("leases", "create", "--id", "keep").stderr
    ctr("leases", "rm", "--sync", "keep")
    assert ctr("leases", "ls", "-q") == ""


def test_namespaces_with_labels(ctr: Ctr) -> None:
    name = f"{ctr.namespace}-x"
    ctr("namespaces", "create", name, "team=blue")
    try:
        row = next(line for line in ctr("namespaces", "ls").splitlines() if line.startswith(name))
        assert "team=blue" in row
        ctr("namespaces", "label", name, "team=red")
        assert "team=red" in ctr("namespaces", "ls")
        assert "already exists" in ctr.try_("namespaces", "create", name).stderr
    finally:
        ctr("namespaces", "rm", name)


def test_a_namespace_in_use_is_not_removed(ctr: Ctr) -> None:
    held(ctr)
    ctr("content", "ingest", "mine", input="hello")
    refused = ctr.try_("namespaces", "rm", ctr.namespace)
    assert refused.returncode != 0
    assert "must be empty" in refused.stderr or "blobs" in refused.stderr


def test_plugins_are_listed_with_their_state(ctr: Ctr) -> None:
    rows = [re.split(r"\s{2,}", line.strip()) for line in ctr("plugins", "ls").splitlines()[1:]]
    states = {(row[0].removeprefix("io.containerd."), row[1]): row[-1] for row in rows}
    assert states["snapshotter.v1", "overlayfs"] == "ok"
    assert states["content.v1", "content"] == "ok"
    assert states["runtime.v2", "task"] == "ok"


def test_version_is_of_containerds_form(ctr: Ctr) -> None:
    server = ctr("version").split("Server:")[1]
    assert re.search(r"Version:\s+v?\d+\.\d+\.\d+", server)
