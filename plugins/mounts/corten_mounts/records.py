"""Activations as they are remembered: a JSON file for each, in the state folder, which a reboot forgets.

<state>/boot                   of which boot all this is
<state>/records/DIGEST.json    an activation; DIGEST is of namespace and name
<state>/t/ID/N                 where its mount N was made
<state>/t/ID/N.type            which handler did it; empty for mount(2)
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from corten.contracts.mounts import Activation, ActiveMount, Mount
from corten.values import dataclass


class Stage(StrEnum):
    """Only what is ACTIVE is there for others; the rest was cut off and is taken away."""

    MAKING = "making"
    ACTIVE = "active"
    GOING = "going"


@dataclass(frozen=True, slots=True)
class Record:
    """One activation; `folder` is the ID of its mount points."""

    namespace: str
    name: str
    folder: str
    stage: Stage
    lease: str = ""
    activation: Activation = field(default_factory=lambda: Activation(""))


class Records:
    """All methods block; used under the manager's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._known = {(record.namespace, record.name): record for record in self._read()}

    def get(self, namespace: str, name: str) -> Record | None:
        return self._known.get((namespace, name))

    def all(self) -> list[Record]:
        return list(self._known.values())

    def put(self, record: Record) -> None:
        path = self._path(record)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(record)))
        part.replace(path)
        self._known[record.namespace, record.name] = record

    def remove(self, record: Record) -> None:
        self._path(record).unlink(missing_ok=True)
        self._known.pop((record.namespace, record.name), None)

    def stage(self, record: Record, stage: Stage) -> Record:
        """The record with another stage, kept so."""
        changed = replace(record, stage=stage)
        self.put(changed)
        return changed

    def _path(self, record: Record) -> Path:
        digest = hashlib.sha256(f"{record.namespace}\0{record.name}".encode()).hexdigest()
        return self._folder / f"{digest}.json"

    def _read(self) -> Iterator[Record]:
        for path in sorted(self._folder.iterdir()):
            try:
                yield _record(json.loads(path.read_text()))
            except (ValueError, KeyError, TypeError):  # cut off while it was written: its mounts belong to nobody
                os.unlink(path)


def _record(read: Mapping[str, Any]) -> Record:
    made = read["activation"]
    activation = Activation(
        made["name"],
        tuple(
            ActiveMount(_mount(each["mount"]), each["mount_point"], each["mounted_at"], each["data"])
            for each in made["active"]
        ),
        tuple(_mount(each) for each in made["system"]),
        made["labels"],
    )
    return Record(read["namespace"], read["name"], read["folder"], Stage(read["stage"]), read["lease"], activation)


def _mount(read: Mapping[str, Any]) -> Mount:
    return Mount(read["type"], read["source"], read["target"], tuple(read["options"]))
