"""One container: its init process and execs, and every operation on them, each a generator for `Loop.drive`."""

import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial

from corten.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
    mapped,
)

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import cgroups, direct, exec_files, files, spawn
from .events import Announcer
from .logger import Logger
from .loop import Later, Loop, Steps
from .making import Making
from .oom import OomWatch
from .process import DELETED, PAUSED, PAUSING, RUNNING, STOPPED, Process
from .reaper import Ended, Reaper
from .streaming import Streaming
from .streams import HELD_MAX, Stdio, Streams


class Container:
    """Made by `Container.create`; gone after `delete` of its init process."""

    def __init__(self, loop: Loop, reaper: Reaper, announce: Announcer, streaming: Streaming, making: Making) -> None:
        self._loop, self._reaper, self._announce, self.making = loop, reaper, announce, making
        self._streaming = streaming
        self.id = making.id
        self.init = Process(making.id, "", making.stdio)
        self.execs: dict[str, Process] = {}
        self.cgroups = cgroups.Cgroups({}, ())
        self._oom: OomWatch | None = None
        self._commands = 0
        self._strays: Later[None] = Later()
        """Set once what outlived init is dealt with."""

    def process(self, exec_id: str) -> Process:
        """The exec of that id, or init for the empty one. Raises NotFound."""
        if not exec_id:
            return self.init
        if exec_id not in self.execs:
            raise NotFound(f"exec {exec_id!r} of task {self.id!r}: does not exist")
        return self.execs[exec_id]

    def create(self) -> Steps[int]:
        """Mount the root file system and have runc create the container; leaves nothing when it fails."""
        making, init = self.making, self.init
        init.in_transit = True
        try:
            making.mount_root()
            try:
                pid = 0 if making.checkpoint else (yield from self._create())
            except BaseException:
                init.close_streams()
                yield from self._remove_remains()
                raise
        except BaseException:
            making.unmount_root()
            raise
        if pid:
            self._find_cgroups()
        self._announce.create(self)
        self._settle(init)
        return pid

    def start(self, exec_id: str) -> Steps[int]:
        """Start init, or an exec. Raises FailedPrecondition if it was started before."""
        process = self.process(exec_id)
        yield from process.turn.take()
        try:
            process.require("start")
            process.in_transit = True
            if exec_id:
                yield from self._start_exec(process)
            else:
                yield from self._start_init(process)
        finally:
            self._settle(process)
            process.turn.give()
        return process.pid

    def exec(self, exec_id: str, spec: bytes, stdio: Stdio) -> None:
        """Add a process; `spec` is an OCI process as JSON."""
        if exec_id in self.execs:
            raise AlreadyExists(f"exec {exec_id!r} of task {self.id!r}: already exists")
        self.init.require("exec")
        if len(self.execs) >= self.making.max_execs:
            raise ResourceExhausted(
                f"task {self.id!r}: it has {len(self.execs)} execs, the most that max_execs allows "
                "(delete those that have ended)"
            )
        process = Process(self.id, exec_id, stdio)
        exec_files.write(self.making.bundle, exec_id, spec, stdio.terminal, process.name)
        self.execs[exec_id] = process
        self._announce.exec_added(self, exec_id)

    def delete(self, exec_id: str) -> Steps[tuple[int, Ended]]:
        """Remove a process that does not run; for init everything that the container had."""
        process = self.process(exec_id)
        yield from process.turn.take()
        try:
            process.require("delete")
            if exec_id:
                yield from self._delete_exec(process)
            else:
                yield from self._delete_init(process)
            process.status = DELETED
        finally:
            process.turn.give()
        return process.pid, process.outcome or Ended(0, 0)

    def kill(self, signal_: int, exec_id: str, everything: bool) -> Steps[None]:
        """Send a signal to a process, or to all of the container. Raises NotFound if it has ended."""
        process = self.process(exec_id)
        if everything and not exec_id:
            yield from self._runc(["kill", "--all", self.id, str(signal_)])
            return
        self._reaper.told(0)
        process.require("kill")
        if not process.pid:
            raise FailedPrecondition(f"{process.name}: cannot kill: it was not started")
        if process.status in (PAUSED, PAUSING):
            yield from self._runc(["kill", self.id, str(signal_)])
            return
        # Not reaped yet, as far as the keeper has told until now, so the pid is still its own.
        with mapped(f"{process.name}: signal {signal_}", {ProcessLookupError: NotFound, OSError: InvalidArgument}):
            os.kill(process.pid, signal_)

    def pause(self) -> Steps[None]:
        """Freeze all its processes."""
        yield from self._freeze("pause", PAUSING, PAUSED, RUNNING)
        self._announce.paused(self)

    def resume(self) -> Steps[None]:
        """Let them run on."""
        yield from self._freeze("resume", PAUSED, RUNNING, PAUSED)
        self._announce.resumed(self)

    def update(self, resources: bytes) -> Steps[None]:
        """Set resource limits: `resources` is an OCI LinuxResources as JSON."""
        self.init.require("update")
        path = f"{self.making.bundle}/resources-{self._number()}.json"
        files.write(path, resources)
        try:
            yield from self._runc(["update", "--resources", path, self.id])
        finally:
            os.unlink(path)

    def checkpoint(self, path: str, work: str, flags: Sequence[str], exits: bool) -> Steps[None]:
        """Write its state to the folder `path` with criu, whose log goes to the folder `work`.

        Raises Unimplemented without a criu.
        """
        self.init.require("checkpoint")
        if shutil.which("criu") is None:
            raise Unimplemented(f"task {self.id!r}: cannot checkpoint: no criu on PATH (install it)")
        work = work or self.making.runc.criu_work_path or f"{self.making.bundle}/criu-work"
        leave = [] if exits else ["--leave-running"]
        yield from self._runc(["checkpoint", "--image-path", path, "--work-path", work, *flags, *leave, self.id])
        self._announce.checkpointed(self, path)

    def pids(self) -> list[tuple[int, str]]:
        """Every process with the id of the exec that started it, or nothing."""
        execs = {process.pid: process.id for process in self.execs.values() if process.status == RUNNING}
        return [(pid, execs.get(pid, "")) for pid in self.cgroups.pids()]

    def _find_cgroups(self) -> None:
        self.cgroups = cgroups.of_process(self.init.pid)

    def _create(self) -> Steps[int]:
        """Have runc create it, or restore it."""
        making, pid_file = self.making, f"{self.making.bundle}/init.pid"
        self.init.streams = streams = self._streams(self.init, direct=making.private_pids)
        yield from streams.ready()
        self._reaper.begin_birth()
        try:
            if making.checkpoint:
                streams.begin()
                work = making.runc.criu_work_path or f"{making.bundle}/criu-work"
                paths = (making.bundle, pid_file, streams.console, making.checkpoint, work)
                words = spawn.restore(making.runc, self.id, *paths)
            else:
                words = spawn.create(making.runc, self.id, making.bundle, pid_file, streams.console)
            yield from self._runc(words, streams.child)
            self._born(self.init, pid_file)
        finally:
            self._reaper.end_birth()
        streams.started()
        return self.init.pid

    def _restore(self, init: Process) -> Steps[None]:
        """Start it where the checkpoint was taken; one that cannot be is as it was before."""
        try:
            yield from self._create()
        except BaseException:
            init.close_streams()
            yield from self._remove_remains()
            raise
        self._find_cgroups()
        self._watch_oom()

    def _watch_oom(self) -> None:
        self._oom = OomWatch.start(self._loop, self.cgroups, partial(self._announce.oom, self))

    def _start_init(self, init: Process) -> Steps[None]:
        if init.streams is not None:
            init.streams.begin()
        if self.making.checkpoint:
            yield from self._restore(init)
            if init.outcome is None:
                init.status = RUNNING
            self._announce.start(self, init)
            return
        self._watch_oom()
        if not (self.making.direct_start and (yield from direct.start(self._loop, self._state, init.reaped))):
            yield from self._runc(["start", self.id])
        if init.outcome is None:
            init.status = RUNNING
        self._announce.start(self, init)

    def _start_exec(self, process: Process) -> Steps[None]:
        self.init.require("exec")
        spec, pid_file = (path(self.making.bundle, process.id) for path in (exec_files.process, exec_files.pid))
        process.streams = streams = self._streams(process, direct=False)
        self._reaper.begin_birth()
        try:
            yield from streams.ready()
            words = spawn.execute(self.id, spec, pid_file, streams.console)
            streams.begin()
            yield from self._runc(words, streams.child)
            self._born(process, pid_file)
            streams.started()
            if process.stdin_over:
                streams.close_stdin()
        except BaseException:
            streams.close()
            process.status, process.outcome = STOPPED, process.outcome or Ended(127, 0)
            process.exited.set(process.outcome)  # never started: nobody is told, but nobody waits for ever either
            raise
        finally:
            self._reaper.end_birth()
        if process.outcome is None:
            process.status = RUNNING
        self._announce.start(self, process)

    def _delete_exec(self, process: Process) -> Steps[None]:
        yield from self._drained(process)
        del self.execs[process.id]
        exec_files.remove(self.making.bundle, process.id)

    def _delete_init(self, init: Process) -> Steps[None]:
        if init.outcome is None:
            yield from self._runc(["delete", "--force", self.id])
        else:
            yield from self._strays.wait()
            if not (self.making.direct_delete and direct.delete(self._state, self.cgroups.own)):
                try:
                    yield from self._runc(["delete", self.id])
                except NotFound:
                    pass  # a delete before this one did its work, but was killed before it could say so
        if init.outcome is None and init.pid:
            yield from self._reaper.expect(init.pid).wait()
        elif init.outcome is None:
            init.exited.set(Ended(0, 0))  # of a checkpoint that was never started
        for process in list(self.execs.values()):
            process.close_streams()
        yield from self._drained(init)
        if self._oom is not None:
            self._oom.close()
        self.making.unmount_root()
        self._announce.delete(self, init)

    def _freeze(self, verb: str, between: str, after: str, back: str) -> Steps[None]:
        init = self.init
        yield from init.turn.take()
        try:
            init.require(verb)
            init.status = between
            try:
                yield from self._runc([verb, self.id])
            except BaseException:
                init.status = back if init.outcome is None else STOPPED
                raise
            init.status = after if init.outcome is None else STOPPED
        finally:
            init.turn.give()

    def _streams(self, process: Process, *, direct: bool) -> Streams:
        console = f"{self.making.console}{self._number()}"
        logger = partial(Logger, self._loop, self._reaper, process.id or self.id, self.making.namespace)
        return Streams(
            self._loop, process.stdio, direct=direct, console=console, owner=self.making.owner, logger=logger,
            streaming=self._streaming,
        )  # fmt: skip

    def _born(self, process: Process, pid_file: str) -> None:
        process.pid = int(files.content(pid_file))
        later = process.reaped = self._reaper.expect(process.pid)
        later.then(partial(self._ended, process))

    def _ended(self, process: Process) -> None:
        ended = process.reaped.value or Ended(255, 0)
        process.outcome, process.status = ended, STOPPED
        if process.streams is not None:
            process.streams.ended()
        if not process.in_transit:
            self._settle(process)
        if process is self.init:
            self._kill_strays()

    def _settle(self, process: Process) -> None:
        """Tell the exit, if there is one, now that all that goes before it was told."""
        process.in_transit = False
        if process.outcome is not None and not process.exited.done:
            self._announce.exit(self, process, process.outcome)
            process.exited.set(process.outcome)

    def _kill_strays(self) -> None:
        """In a shared pid namespace what init started survives it; the container has ended, so it must too."""
        if self.making.private_pids:
            self._strays.set(None)
        else:
            kill = self._runc(["kill", "--all", self.id, "KILL"])
            self._loop.drive(kill, lambda *_: self._strays.set(None))  # it fails when there are none

    def _drained(self, process: Process) -> Steps[None]:
        """Wait for the last of its output; a client that does not read is given up with the rest."""
        streams = process.streams
        if streams is not None:
            through: Later[None] = Later()
            streams.closed.then(lambda: through.set(None))
            if not through.done:
                late = self._loop.after(HELD_MAX + 1, lambda: through.set(None))
                yield from through.wait()
                self._loop.cancel(late)
            streams.close()

    def _remove_remains(self) -> Steps[None]:
        try:
            yield from self._runc(["delete", "--force", self.id])
        except Exception:
            return

    def _runc(self, verb: Sequence[str], streams: Sequence[int] | None = None) -> Steps[None]:
        log = f"{self.making.bundle}/runc-{self._number()}.log"
        yield from spawn.run(self._loop, self._reaper, self.making.runc, log, verb, streams)

    @property
    def _state(self) -> str:
        """The folder where runc keeps what it knows of the container."""
        return f"{self.making.runc.root}/{self.id}"

    def _number(self) -> int:
        self._commands += 1
        return self._commands
