"""Logging URIs: files, and programs of the user's that take the output; on every shim that runs here."""

import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from corten.contracts.runtime import Stdio
from corten.errors import CortenError, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from corten_runtimes.shim.logger import command
from runtimes.world import NAMESPACE, World, eventually, process

pytestmark = pytest.mark.integration

_LOGGER = """#!{sh}
# What an ordinary logging program does: says that it is ready, and copies until the end of both streams.
{ready}
exec 5>&-
echo "$@" > {folder}/args
{env} > {folder}/env
{cat} <&3 > {folder}/out &
{cat} <&4 > {folder}/err
wait
echo done > {folder}/done
"""


def logger(world: World, *, byte: bool, name: str = "logger") -> Path:
    path = world.folder / name
    tools = {tool: shutil.which(tool) for tool in ("sh", "env", "cat")}
    path.write_text(_LOGGER.format(folder=world.folder, ready="printf x >&5" if byte else "", **tools))
    path.chmod(0o755)
    return path


async def run(runtime: Any, world: World, script: str, stdio: Stdio) -> Any:
    task = await runtime.create(NAMESPACE, world.id(), world.options("/bin/sh", "-c", script, stdio=stdio))
    await task.start()
    return task


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
@pytest.mark.parametrize("scheme", ["binary", "binary-v2"])
async def test_a_program_takes_the_output(runtime: Any, world: World, scheme: str, terminal: bool) -> None:
    uri = f"{scheme}://{logger(world, byte=scheme == 'binary-v2')}?--flag=a%20b&x=y+z&--flag=again"
    task = await run(runtime, world, "seq 20000; echo oops >&2", Stdio("", uri, "" if terminal else uri, terminal))
    await task.wait()
    await task.delete()
    expected = b"".join(b"%d\n" % number for number in range(1, 20001))
    out, err = ((world.folder / name).read_bytes().replace(b"\r\n", b"\n") for name in ("out", "err"))
    assert (out, err) == ((expected + b"oops\n", b"") if terminal else (expected, b"oops\n"))
    assert (world.folder / "args").read_text() == "--flag a b x y z\n"
    environ = (world.folder / "env").read_text().splitlines()
    assert {f"CONTAINER_ID={task.id}", f"CONTAINER_NAMESPACE={NAMESPACE}"} <= set(environ)
    assert not [line for line in environ if line.startswith("PYTHON")]
    assert (world.folder / "done").exists(), "a task is deleted when its logging program has had its end"


async def test_a_program_that_never_says_it_is_ready_is_refused(runtime: Any, world: World) -> None:
    quiet = f"binary-v2://{logger(world, byte=False)}"
    with pytest.raises(FailedPrecondition, match="ready"):
        await runtime.create(NAMESPACE, world.id(), world.options("/bin/true", stdio=Stdio("", quiet, quiet)))
    for uri, kind in (("binary:///no/such/program", NotFound), ("binary://relative", InvalidArgument)):
        with pytest.raises(kind):
            await runtime.create(NAMESPACE, world.id(), world.options("/bin/true", stdio=Stdio("", uri, uri)))
    await world.left_nothing()


async def test_an_exec_has_a_program_of_its_own(runtime: Any, world: World) -> None:
    task = await run(runtime, world, "sleep 60", Stdio())
    uri = f"binary://{logger(world, byte=False)}"
    await task.exec("e", process(["/bin/echo", "from the exec"]), Stdio("", uri, uri))
    await task.start("e")
    await task.wait("e")
    await task.delete("e")
    assert (world.folder / "out").read_text() == "from the exec\n"
    assert "CONTAINER_ID=e" in (world.folder / "env").read_text()


async def test_a_program_that_does_not_end_is_ended(runtime: Any, world: World) -> None:
    path = world.folder / "stays"
    path.write_text(f"#!{shutil.which('sh')}\nexec 5>&-\necho $$ > {world.folder}/pid\nexec sleep 321\n")
    path.chmod(0o755)
    task = await run(runtime, world, "true", Stdio("", f"binary://{path}", f"binary://{path}"))
    await task.wait()
    await task.delete()
    pid = int((world.folder / "pid").read_text())
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), 15)


async def test_a_file_takes_both_outputs(shims: Any, world: World) -> None:
    path = world.folder / "made" / "for it" / "out.log"
    uri = f"file://{world.folder}/made/for%20it/out.log"
    for word in ("one", "two"):
        # containerd's shim of 1.6 closes a shared file with the first output that ends, whatever the other still holds.
        task = await run(shims, world, f"echo {word}; echo {word}! >&2; sleep 0.3", Stdio("", uri, uri))
        await task.wait()
        await task.delete()
    assert sorted(path.read_text().split()) == ["one", "one!", "two", "two!"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_a_container_cannot_read_the_file_that_it_logs_to(shims: Any, world: World) -> None:
    path = world.folder / "out.log"
    path.write_text("secret of before\n")
    script = "cat < /proc/self/fd/1 & sleep 0.2; echo the end; kill %1 2>/dev/null; true"
    task = await run(shims, world, script, Stdio("", f"file://{path}", f"file://{path}"))
    await task.wait()
    await task.delete()
    assert path.read_text().count("secret") == 1


async def test_a_file_with_a_terminal(runtime: Any, world: World) -> None:
    path = world.folder / "out.log"
    task = await run(runtime, world, "[ -t 1 ] && echo a tty", Stdio("", f"file://{path}", "", True))
    await task.wait()
    await task.delete()
    assert path.read_bytes() == b"a tty\r\n"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("npipe://x", Unimplemented),
        ("file://relative", InvalidArgument),
    ],
)
async def test_other_schemes_are_refused_by_name(runtime: Any, world: World, uri: str, kind: type[CortenError]) -> None:
    with pytest.raises(kind) as refused:
        await runtime.create(NAMESPACE, world.id(), world.options("/bin/true", stdio=Stdio("", uri, "")))
    assert uri in refused.value.message
    await world.left_nothing()


def test_the_command_line_of_a_uri() -> None:
    assert command("binary:///bin/l%20og") == ["/bin/l og"]
    assert command("binary:///bin/log?a&b=&a=2&c=%3D") == ["/bin/log", "a", "", "b", "", "c", "="]
    for bad in ("binary://", "binary-v2://bin/log"):
        with pytest.raises(InvalidArgument):
            command(bad)


def test_clients_find_the_schemes_where_containerd_has_them() -> None:
    from corten.plugin.types import RUNTIME
    from corten_runtimes.registration import plugins

    (runtime,) = [registration for registration in plugins() if registration.type == RUNTIME]
    assert runtime.exports["log-uri-schemes"].split(",") == ["fifo", "binary", "binary-v2", "file"]
