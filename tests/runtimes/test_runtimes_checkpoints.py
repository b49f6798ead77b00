"""Checkpoint and restore as runc is asked for them, with a stand-in for runc where criu cannot work."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import Status, Stdio
from corten.errors import FailedPrecondition, Unknown
from runtimes.conftest import over
from runtimes.world import NAMESPACE, RUNC, Reader, World, eventually

pytestmark = pytest.mark.integration

_RUNC = """#!{sh}
# Writes down how it is called; a restore starts a process as runc would.
echo "$@" >> {folder}/calls
verb=
while [ $# -gt 0 ]; do
  case "$1" in
    --log) log=$2; shift ;;
    --root|--log-format) shift ;;
    --pid-file) pid_file=$2; shift ;;
    --image-path) image=$2; shift ;;
    restore|delete|kill|checkpoint|start|create) verb=${{verb:-$1}} ;;
  esac
  shift
done
[ "$verb" = restore ] || exit 0
[ -e "$image/core.img" ] || {{ echo '{{"level":"error","msg":"criu failed: no core.img"}}' > "$log"; exit 1; }}
{sh} -c 'echo restored; exec sleep 1234' &
printf $! > "$pid_file"
"""


@pytest.fixture
def info(world: World) -> RuntimeInfo:
    stand_in = world.folder / "runc-stand-in"
    stand_in.write_text(_RUNC.format(sh=shutil.which("sh"), folder=world.folder))
    stand_in.chmod(0o755)
    options = oci_pb2.Options(
        binary_name=str(stand_in),
        root=f"{world.folder}/root",
        criu_work_path=f"{world.folder}/work",
        no_pivot_root=True,
    )
    return RuntimeInfo(RUNC, AnyValue("containerd.runc.v1.Options", options.SerializeToString()))


def _criu_works() -> bool:
    criu = shutil.which("criu")
    return (
        criu is not None
        and subprocess.run([criu, "check"], capture_output=True, timeout=30, check=False).returncode == 0
    )


def called(world: World, verb: str) -> list[dict[str, str]]:
    """The flags of each call of a verb, with their values; `id` is the last word."""
    found = []
    for line in (world.folder / "calls").read_text().splitlines():
        words = line.split()
        if verb in words:
            rest = words[words.index(verb) + 1 :]
            pairs = zip(rest, [*rest[1:], ""], strict=True)
            found.append({word: "" if after.startswith("--") else after for word, after in pairs} | {"id": rest[-1]})
    return found


async def test_a_container_is_restored_when_it_is_started(world: World, info: RuntimeInfo) -> None:
    image = world.folder / "image"
    image.mkdir()
    out = Reader(world.fifo())
    options = replace(world.options("/bin/true", stdio=Stdio(stdout=out.path)), runtime=info, checkpoint=str(image))
    runtime = await world.runtime()
    task = await runtime.create(NAMESPACE, "again", options)
    assert (task.pid, (await task.state()).status) == (0, Status.CREATED)
    with pytest.raises(FailedPrecondition):
        await task.kill(9)
    await runtime.close()
    second = await world.runtime()
    task = await second.get(NAMESPACE, "again")
    try:
        with pytest.raises(Unknown, match=r"no core\.img"):
            await task.start()
        assert (await task.state()).status == Status.CREATED
        assert await out.end() == b""
        out = Reader(out.path)
        (image / "core.img").touch()
        pid = await task.start()
        assert pid == (await task.state()).pid > 0
        assert (await task.state()).status == Status.RUNNING
        await eventually(lambda: out.data == b"restored\n")
        flags = called(world, "restore")[-1]
        bundle = str(world.tasks / "again")
        expected = {
            "--bundle": bundle,
            "--image-path": str(image),
            "--work-path": f"{world.folder}/work",
            "id": "again",
        }
        assert expected.items() <= flags.items()
        assert {"--detach", "--no-subreaper", "--no-pivot", "--pid-file"} <= flags.keys()
        await task.kill(9)
        assert (await task.wait()).status == 137
        await task.delete()
        await eventually(lambda: "/tasks/delete" in world.events.topics("again"))
        words = [topic.rpartition("/")[2] for topic in world.events.topics("again")]
        assert words == ["create", "start", "exit", "delete"]
        assert world.events.events()[0][1].checkpoint == str(image)
    finally:
        await over(world, second)


async def test_what_is_never_restored_is_deleted(runtime: Any, world: World, info: RuntimeInfo) -> None:
    options = replace(world.options("/bin/true"), runtime=info, checkpoint=str(world.folder))
    task = await runtime.create(NAMESPACE, "never", options)
    ended = await task.delete()
    assert ended.status == 0
    await world.left_nothing()


async def test_options_of_a_checkpoint_reach_runc(runtime: Any, world: World, info: RuntimeInfo) -> None:
    (world.folder / "core.img").touch()
    options = replace(world.options("/bin/true"), runtime=info, checkpoint=str(world.folder))
    task = await runtime.create(NAMESPACE, "frozen", options)
    await task.start()
    if not shutil.which("criu"):
        pytest.skip("no criu on PATH: the shim says so before it calls runc")
    wanted = oci_pb2.CheckpointOptions(
        open_tcp=True, external_unix_sockets=True, terminal=True, file_locks=True, empty_namespaces=["network"],
        cgroups_mode="soft", work_path=f"{world.folder}/logs", parent_path="../before",
    )  # fmt: skip
    packed = AnyValue("containerd.runc.v1.CheckpointOptions", wanted.SerializeToString())
    await task.checkpoint(f"{world.folder}/to", packed)
    flags = called(world, "checkpoint")[-1]
    expected = {
        "--image-path": f"{world.folder}/to",
        "--work-path": f"{world.folder}/logs",
        "--parent-path": "../before",
        "--empty-ns": "network",
        "--manage-cgroups-mode": "soft",
    }
    assert expected.items() <= flags.items()
    assert {"--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks", "--leave-running"} <= flags.keys()


@pytest.mark.skipif(
    not _criu_works(),
    reason="criu is not there, or cannot work on this kernel (`criu check` says why)",
)
async def test_a_process_goes_on_where_it_was_checkpointed(runtime: Any, world: World) -> None:
    script = "i=0; while true; do i=$((i+1)); echo $i > /tmp/count; sleep 0.05; done"
    task = await runtime.create(NAMESPACE, "real", world.options("/bin/sh", "-c", script))
    await task.start()
    counter = world.folder / "rootfs/tmp/count"
    await eventually(lambda: counter.exists() and int(counter.read_text() or 0) > 5)
    leave = oci_pb2.CheckpointOptions(exit=True)
    image = Path(world.folder / "image")
    await task.checkpoint(str(image), AnyValue("containerd.runc.v1.CheckpointOptions", leave.SerializeToString()))
    await task.wait()
    await task.delete()
    reached = int(counter.read_text())
    again = replace(world.options("/bin/sh", "-c", script), checkpoint=str(image))
    task = await runtime.create(NAMESPACE, "real", again)
    await task.start()
    await eventually(lambda: int(counter.read_text() or 0) > reached)
    await task.kill(9)
    await task.wait()
    await task.delete()
