"""The kernel is told of moves into cgroups that are to come; where it cannot be told, nothing is lost."""

import asyncio
from pathlib import Path

import pytest
from corten.pools import Pools
from corten_runtimes.migrations import Migrations, own_procs


def tree(folder: Path, *procs: str) -> str:
    for path in procs:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return str(folder)


@pytest.mark.parametrize(
    ("lines", "there", "found"),
    [
        ("0::/a/b\n", "a/b/cgroup.procs", "a/b/cgroup.procs"),
        ("0::/\n", "unified/cgroup.procs", "unified/cgroup.procs"),
        ("9:name=systemd:/x\n3:cpu,cpuacct:/y\n", "cpu,cpuacct/y/cgroup.procs", "cpu,cpuacct/y/cgroup.procs"),
        ("9:name=systemd:/x\n", "systemd/x/cgroup.procs", "systemd/x/cgroup.procs"),
        ("3:cpu:/y\n", "memory/y/cgroup.procs", ""),
        ("", "cgroup.procs", ""),
    ],
)
def test_where_this_process_is(tmp_path: Path, lines: str, there: str, found: str) -> None:
    own = tmp_path / "own"
    own.write_text(lines)
    root = tree(tmp_path / "cgroup", there)
    assert own_procs(root, str(own)) == (f"{root}/{found}" if found else "")


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert own_procs(str(tmp_path), str(tmp_path / "nosuch")) == ""


async def written(procs: Path) -> None:
    async with asyncio.timeout(10):
        while not procs.read_bytes():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_move_is_announced_by_staying(tmp_path: Path) -> None:
    procs, pools = tmp_path / "cgroup.procs", Pools()
    procs.touch()
    migrations = Migrations(pools, str(procs))
    for _ in range(100):
        migrations.expect()
    await written(procs)
    assert procs.read_bytes() == b"0"
    pools.close()


async def test_where_it_is_forbidden_it_is_not_tried_again(tmp_path: Path) -> None:
    folder, pools = tmp_path / "cgroup.procs", Pools()
    folder.mkdir()
    migrations = Migrations(pools, str(folder))
    migrations.expect()
    async with asyncio.timeout(10):
        while "none" not in repr(migrations):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    folder.rmdir()
    folder.touch()
    migrations.expect()
    await asyncio.sleep(0.1)
    assert folder.read_bytes() == b""
    pools.close()
