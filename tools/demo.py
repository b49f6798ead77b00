"""`make demo`: cortend on a root of its own, a small image, a container, an exec; and nothing of it left afterwards.

Every step prints the command that it runs, so that the same can be typed by hand. Exits 0 if all went well.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from daemon import CORTEN, Daemon, daemon_folder, mounts_and_processes, remove_cgroups  # noqa: E402

IMAGE = "corten.local/busybox:latest"
NAME = "demo"


class DemoFailed(Exception):
    """A step did not do what it should; the argument says which and how."""


def main() -> int:
    """Run the demonstration; the exit code."""
    if os.geteuid() != 0:
        print("the demo needs root: it mounts file systems and makes namespaces (sudo make demo)", file=sys.stderr)
        return 1
    # As for Ctrl-C: what was begun is cleared away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    namespace = f"demo-{os.getpid()}"
    try:
        demonstrate(namespace)
    except (DemoFailed, AssertionError, subprocess.TimeoutExpired) as error:
        print(f"\nthe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; everything was cleared away", file=sys.stderr)
        return 130
    print(f"\nDone in {time.monotonic() - began:.1f} s; nothing is left of it.")
    return 0


def demonstrate(namespace: str) -> None:
    """All steps, and the check that they left nothing."""
    with daemon_folder() as folder:
        try:
            with started(Daemon(folder)) as daemon:
                steps(daemon, namespace)
        finally:
            leftovers = mounts_and_processes(folder)
            remove_cgroups(namespace)
        if leftovers:
            raise DemoFailed("something was left: " + ", ".join(leftovers))


@contextmanager
def started(daemon: Daemon) -> Iterator[Daemon]:
    """cortend, running for as long as the block does."""
    say(f"Starting cortend on its own folder {daemon.folder}")
    print("$ " + shlex.join([Path(daemon.argv()[0]).name, *daemon.argv()[1:]]))
    daemon.start()
    try:
        yield daemon
    finally:
        say("Stopping cortend")
        daemon.stop()


def steps(daemon: Daemon, namespace: str) -> None:
    """What a person would type."""
    archive = daemon.folder / "busybox.tar"

    def corten(*args: str, expect: int = 0, show: bool = True) -> str:
        return run(["corten", *args], daemon, namespace, expect, show)

    say("Making a small image out of Debian's busybox, with Corten's own code")
    run([sys.executable, "-m", "corten.oci_image.busybox", "--output", str(archive)], daemon, namespace)
    say("Importing it")
    corten("import", str(archive))
    corten("images")

    say("Running a container to its end; its exit code comes through")
    output = corten("run", "--rm", IMAGE, "sh", "-c", "echo hello from $(uname -s), process $$; exit 3", expect=3)
    check("hello from Linux, process 1" in output, "the container's output did not arrive")

    say("Running one in the background, and executing in it")
    corten("run", "--detach", "--name", NAME, "--memory", "64m", IMAGE, "sleep", "600")
    corten("ps")
    output = corten("exec", NAME, "ps")
    check("sleep 600" in output, "exec does not see the container's process")
    running = json.loads(corten("ps", "--format", "json", show=False))
    check([each["status"] for each in running] == ["running"], "the list does not show it running")

    say("Stopping and removing it, and the image with all its snapshots")
    corten("stop", "--time", "1", NAME)
    corten("ps", "--all")
    corten("rm", NAME)
    corten("image", "rm", "--sync", IMAGE)
    for kind in ("snapshots", "content"):
        left = corten(kind, "ls", "--format", "json", show=False)
        check(json.loads(left) == [], f"{kind} were left after the image was removed: {left}")
    print("(no snapshot and no blob is left)")


def run(argv: Sequence[str], daemon: Daemon, namespace: str, expect: int = 0, show: bool = True) -> str:
    """Run a step with the daemon's address in its environment; its output."""
    where = {"CONTAINERD_ADDRESS": daemon.address, "CONTAINERD_NAMESPACE": namespace}
    env = {**os.environ, **where, "CORTEN_LOGS": f"{daemon.folder}/logs"}
    if show:
        print(f"$ {shlex.join([Path(argv[0]).name, *argv[1:]])}", flush=True)
    real = [str(CORTEN), *argv[1:]] if argv[0] == "corten" else list(argv)
    done = subprocess.run(real, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    if show:
        print(done.stdout, end="", flush=True)
    if done.returncode != expect:
        raise DemoFailed(f"{shlex.join(argv)}: exit code {done.returncode}, not {expect}\n{done.stderr}{daemon.log}")
    return done.stdout


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def check(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DemoFailed(otherwise)


if __name__ == "__main__":
    sys.exit(main())
