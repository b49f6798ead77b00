"""Records of what was attached, on disk before the first plugin runs and until the last one has let go.

    <root>/attachments/<container>/record.json    how ADD was called, and what it answered

A plugin that runs holds a lock (flock) on the folder, so that a daemon that was restarted waits for it before it cleans
up behind it.
"""

import fcntl
import json
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corten.errors import AlreadyExists, CortenError, InvalidArgument, mapped

from . import results
from .configuration import NetworkList, of_record

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .chain import Attaching

log = logging.getLogger(__name__)

VERSION = 1
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
        """Read what an earlier daemon recorded. A record that cannot be read is set aside with a warning."""
        with mapped(f"read the records of CNI in {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            for folder in sorted(self._folder.iterdir()):
                self._load_one(folder)

    def known(self) -> list[Attachment]:
        return list(self._known.values())

    def find(self, container: str) -> Attachment | None:
        return self._known.get(container)

    def lock(self, container: str) -> int:
        """A descriptor of the container's folder with the lock on it; -1 while a plugin that is left over holds it.

        Plugins inherit it. Close it when they have ended.
        """
        with mapped(f"lock the CNI record of {container}"):
            fd = os.open(self._of(container), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return -1
            return fd

    def evict(self, container: str) -> None:
        """Kill what holds the lock: plugins that outlived the daemon that started them, or their own children."""
        folder = str(self._of(container))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) != os.getpid() and _has_open(pid, folder):
                log.warning("CNI: process %s is left from an attachment of %s: it is killed", pid, container)
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def create(self, attachment: Attachment) -> None:
        """Raises AlreadyExists."""
        folder = self._of(attachment.container)
        if attachment.container in self._known:
            raise AlreadyExists(f"CNI: container {attachment.container} is attached already")
        with mapped(f"record the networks of {attachment.container} in {folder}"):
            folder.mkdir(exist_ok=True)
            _sync(self._folder)
        self.put(attachment)

    def put(self, attachment: Attachment) -> None:
        """Write a record, durably: it survives a power cut once this returns."""
        folder = self._of(attachment.container)
        with mapped(f"record the networks of {attachment.container} in {folder}"):
            fresh = folder / "record.json.new"
            with fresh.open("w") as file:
                json.dump(_to_json(attachment), file)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(folder / "record.json")
            _sync(folder)
        self._known[attachment.container] = attachment

    def drop(self, container: str) -> None:
        """Forget; harmless if there is no record."""
        with mapped(f"remove the CNI record of {container}"):
            shutil.rmtree(self._of(container), ignore_errors=False, onerror=_unless_gone)
            _sync(self._folder)
        self._known.pop(container, None)

    def _of(self, container: str) -> Path:
        if not _ID.match(container):
            raise InvalidArgument(f"CNI: {container!r:.200} cannot be a container id")
        return self._folder / container

    def _load_one(self, folder: Path) -> None:
        try:
            found = _of_json(json.loads((folder / "record.json").read_text()))
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)  # made, but not yet written: no plugin has run
        except (OSError, ValueError, KeyError, TypeError, CortenError) as error:
            log.error("CNI record %s cannot be read (%s): if it held addresses, give them back by hand", folder, error)
        else:
            self._known[found.container] = found


def _has_open(pid: str, folder: str) -> bool:
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == folder for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def _unless_gone(call: object, path: str, error: Any) -> None:
    if not issubclass(error[0], FileNotFoundError):
        raise error[1]


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
        "complete": attachment.complete,
        "networks": [
            {"interface": each.interface, "network": each.network.to_json(), "result": each.result}
            for each in attachment.networks
        ],
    }


def _of_json(document: Mapping[str, Any]) -> Attachment:
    networks: Sequence[Attached] = [
        Attached(each["interface"], of_record(each["network"]), each["result"]) for each in document["networks"]
    ]
    arguments = tuple((key, value) for key, value in document["arguments"])
    return Attachment(
        document["container"], document["netns"], arguments, document["capabilities"], tuple(networks),
        document["complete"],
    )  # fmt: skip
