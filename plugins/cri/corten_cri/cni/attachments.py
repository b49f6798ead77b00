"""Records of what was attached, on disk before the first plugin runs and until the last one has let go.

    <root>/attachments/ID.json       how ADD is called: the networks as they were configured, arguments, capabilities
    <root>/attachments/ID.results    what it answered, for DEL and CHECK

The first survives a power cut, for it says which addresses to give back. The second needs not: a power cut takes the
interfaces with it, and without it DEL gives addresses back as well.

A plugin that runs holds a lock (flock) on the record, so that a daemon that was restarted waits for it before it cleans
up behind it.
"""

import fcntl
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from corten.errors import AlreadyExists, CortenError, InvalidArgument, mapped
from corten.values import dataclass

from . import results
from .configuration import NetworkList, of_record

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .chain import Attaching

log = logging.getLogger(__name__)

VERSION = 1
RECORD, RESULTS, FRESH = ".json", ".results", ".new"
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Attached:
    """One network of a container; `result` is None until ADD has answered."""

    interface: str
    network: NetworkList
    result: results.Result | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """All networks of a container, as they were asked for."""

    container: str
    netns: str
    arguments: tuple[tuple[str, str], ...]
    capabilities: Mapping[str, Any]
    networks: tuple[Attached, ...]
    complete: bool = field(default=False)
    """Whether every ADD has answered."""

    def attaching(self, attached: Attached, lock: int = -1, *, netns: bool = True) -> Attaching:
        where = self.netns if netns else ""
        return Attaching(self.container, where, attached.interface, self.arguments, self.capabilities, lock)

    @property
    def results(self) -> list[results.Result]:
        return [each.result for each in self.networks if each.result is not None]


class Attachments:
    """The records in a folder. Blocking, except for `known` and `find`; records are frozen and replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "attachments"
        self._known: dict[str, Attachment] = {}

    def load(self) -> None:
        """Read what an earlier daemon recorded. One that cannot be read stays, with an error in the log."""
        with mapped(f"read the records of CNI in {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            for file in sorted(self._folder.iterdir()):
                if file.name.endswith(RECORD):
                    self._load_one(file)
                elif not file.with_suffix(RECORD).exists():
                    file.unlink()  # of a record that went, or never became one: no plugin has run then

    def known(self) -> list[Attachment]:
        return list(self._known.values())

    def find(self, container: str) -> Attachment | None:
        return self._known.get(container)

    def lock(self, container: str) -> int:
        """A descriptor of the container's record with the lock on it; -1 while a plugin that is left over holds it.

        Plugins inherit it. Close it when they have ended.
        """
        with mapped(f"lock the CNI record of {container}"):
            fd = os.open(self._of(container, RECORD), os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return -1
            return fd

    def evict(self, container: str) -> None:
        """Kill what holds the lock: plugins that outlived the daemon that started them, or their own children."""
        record = str(self._of(container, RECORD))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) != os.getpid() and _has_open(pid, record):
                log.warning("CNI: process %s is left from an attachment of %s: it is killed", pid, container)
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def create(self, attachment: Attachment) -> None:
        """Write a record that survives a power cut once this returns. Raises AlreadyExists."""
        if attachment.container in self._known:
            raise AlreadyExists(f"CNI: container {attachment.container} is attached already")
        with mapped(f"record the networks of {attachment.container} in {self._folder}"):
            _write(self._of(attachment.container, RECORD), _to_json(attachment), durable=True)
        self._known[attachment.container] = attachment

    def complete(self, attachment: Attachment) -> None:
        """Keep the results of one that was created."""
        with mapped(f"record the results of CNI for {attachment.container} in {self._folder}"):
            results = [each.result for each in attachment.networks]
            _write(self._of(attachment.container, RESULTS), {"results": results}, durable=False)
        self._known[attachment.container] = attachment

    def drop(self, container: str) -> None:
        """Forget; harmless if there is no record."""
        with mapped(f"remove the CNI record of {container}"):
            for suffix in (RESULTS, RECORD):
                self._of(container, suffix).unlink(missing_ok=True)
        self._known.pop(container, None)

    def _of(self, container: str, suffix: str) -> Path:
        if not _ID.match(container):
            raise InvalidArgument(f"CNI: {container!r:.200} cannot be a container id")
        return self._folder / f"{container}{suffix}"

    def _load_one(self, file: Path) -> None:
        try:
            found = _of_json(json.loads(file.read_text()))
        except (OSError, ValueError, KeyError, TypeError, CortenError) as error:
            log.error("CNI record %s cannot be read (%s): if it held addresses, give them back by hand", file, error)
        else:
            self._known[found.container] = _with_results(found, file.with_suffix(RESULTS))


def _with_results(attachment: Attachment, file: Path) -> Attachment:
    """The same with its results, if they are there whole."""
    try:
        found = json.loads(file.read_text())["results"]
        pairs = zip(attachment.networks, found, strict=True)
        return replace(
            attachment, networks=tuple(replace(each, result=result) for each, result in pairs), complete=True
        )
    except (OSError, ValueError, KeyError, TypeError):
        return attachment


def _write(file: Path, document: Any, *, durable: bool) -> None:
    """In one step, so that a reader finds all of it or nothing."""
    fresh = file.with_name(file.name + FRESH)
    with fresh.open("w") as opened:
        json.dump(document, opened)
        if durable:
            opened.flush()
            os.fsync(opened.fileno())
    fresh.rename(file)
    if durable:
        _sync(file.parent)


def _has_open(pid: str, file: str) -> bool:
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == file for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _to_json(attachment: Attachment) -> dict[str, Any]:
    return {
        "version": VERSION,
        "container": attachment.container,
        "netns": attachment.netns,
        "arguments": attachment.arguments,
        "capabilities": attachment.capabilities,
        "networks": [{"interface": each.interface, "network": each.network.to_json()} for each in attachment.networks],
    }


def _of_json(document: Mapping[str, Any]) -> Attachment:
    networks = tuple(Attached(each["interface"], of_record(each["network"])) for each in document["networks"])
    arguments = tuple((key, value) for key, value in document["arguments"])
    return Attachment(document["container"], document["netns"], arguments, document["capabilities"], networks)
