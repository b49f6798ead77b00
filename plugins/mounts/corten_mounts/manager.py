"""The mount manager: activations under names, remembered until they are undone or the host reboots."""

import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Condition, Lock

from corten import fieldpaths as masks
from corten import filters as filter_rules
from corten import labels as label_rules
from corten.contracts.mounts import Activation, ActiveMount, Mount, MountHandler
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, CortenError, InvalidArgument, NotFound, Unavailable, Unimplemented, mapped
from corten.linux import mount as mounting

from . import directories, filesystems, templates
from .places import Places
from .plan import Plan, Step, plan
from .records import Record, Records, Stage

log = logging.getLogger(__name__)
MAX_MOUNTS = 255
"""Mounts of one activation."""
MAX_NAME = 32 << 10
TURN = 30.0
"""Seconds that a call waits for another one with the same name: a mount that hangs must not collect threads."""
Key = tuple[str, str]


class Mounts:
    """Contract `MountManager`; everything lies under `state`. `allowed` are folders that transformers may write in."""

    def __init__(self, state: Path, handlers: Mapping[str, MountHandler], allowed: Sequence[Path], boot: str) -> None:
        self._targets = state / "t"
        self._handlers = dict(handlers)
        self._lock = Lock()
        self._busy: set[Key] = set()
        self._freed = Condition(self._lock)
        self._touched: set[Key] = set()
        _forget_other_boot(state, boot)
        self._targets.mkdir(mode=0o700, exist_ok=True)
        self._places = Places([Path(os.path.realpath(path)) for path in (self._targets, *allowed)])
        self._records = Records(state / "records")
        self._transformers: Mapping[str, Callable[[Mount, Sequence[ActiveMount]], Mount]] = {
            "format": templates.formatted,
            "mkdir": lambda mount, _: directories.made(mount, self._places),
            "mkfs": lambda mount, _: filesystems.made(mount, self._places),
        }

    def __repr__(self) -> str:
        return f"Mounts({len(self._records.all())} activations, handlers={sorted(self._handlers)})"

    def needed(self, mounts: Sequence[Mount], allowed: Sequence[str] = ()) -> bool:
        return plan(mounts, self._handlers, allowed=allowed).needed

    def activate(
        self,
        scope: Scope,
        name: str,
        mounts: Sequence[Mount],
        *,
        labels: Mapping[str, str] | None = None,
        temporary: bool = False,
        allowed: Sequence[str] = (),
    ) -> Activation:
        _check(name, mounts, labels or {})
        wanted = plan(mounts, self._handlers, temporary=temporary, allowed=allowed)
        if not wanted.needed:
            raise Unimplemented(f"activation {name!r}: its mounts are all for the system to do")
        key = (scope.namespace, name)
        with self._held(key):
            self._refuse_second(key)
            record = Record(scope.namespace, name, secrets.token_hex(8), Stage.MAKING, scope.lease)
            with self._lock:
                self._records.put(record)
            try:
                active, system = self._make(record, wanted, temporary=temporary)
            except BaseException:
                self._undo(record)
                raise
            activation = Activation(name, active, system, label_rules.kept(labels or {}))
            with self._lock:
                self._records.put(replace(record, stage=Stage.ACTIVE, activation=activation))
        return activation

    def deactivate(self, namespace: str, name: str) -> None:
        key = (namespace, name)
        with self._held(key):
            with self._lock:
                record = self._records.get(*key)
                if record is None:
                    raise NotFound(f"activation {name[:80]!r}: it does not exist")
                record = self._records.stage(record, Stage.GOING)
            self._undo(record)

    def info(self, namespace: str, name: str) -> Activation:
        with self._lock:
            return self._active(namespace, name).activation

    def update(self, namespace: str, activation: Activation, fieldpaths: Sequence[str] = ()) -> Activation:
        what = f"activation {activation.name[:80]!r}"
        with self._lock:
            record = self._active(namespace, activation.name)
            labels = masks.merged_labels(record.activation.labels, activation.labels, fieldpaths, what)
            changed = replace(record.activation, labels=labels)
            self._records.put(replace(record, activation=changed))
        return changed

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Activation]:
        matches = filter_rules.compile(filters)
        with self._lock:
            found = [r.activation for r in self._records.all() if r.namespace == namespace and r.stage is Stage.ACTIVE]
        return sorted((a for a in found if matches(partial(_field, a))), key=lambda a: a.name)

    def recover(self) -> None:
        """Take away what was cut off: activations half made or half undone, and mount points of none."""
        with self._lock:
            records = self._records.all()
        for record in records:
            if record.stage is not Stage.ACTIVE:
                log.warning("activation %s/%s: it was cut off, and is undone", record.namespace, record.name[:80])
                self._try_undo(record)
        known = {record.folder for record in self._records.all()}
        for folder in sorted(self._targets.iterdir()):
            if folder.name not in known:
                self._clear(folder)

    def begin_collection(self) -> Sequence[Record]:
        """What a collection starts from; what is used after this is not for it to remove."""
        with self._lock:
            self._touched.clear()
            return [record for record in self._records.all() if record.stage is Stage.ACTIVE]

    def collect(self, records: Iterable[Record]) -> None:
        """Undo those that nothing keeps, unless they were used since the collection began. Raises nothing."""
        for record in records:
            key = (record.namespace, record.name)
            with self._lock:
                current = self._records.get(*key)
                if key in self._touched or key in self._busy or current is None or current.folder != record.folder:
                    continue
                going = self._records.stage(current, Stage.GOING)
            self._try_undo(going)

    def _make(
        self, record: Record, wanted: Plan, *, temporary: bool
    ) -> tuple[tuple[ActiveMount, ...], tuple[Mount, ...]]:
        folder = self._targets / record.folder
        folder.mkdir(mode=0o700)
        active: list[ActiveMount] = []
        for number, step in enumerate(wanted.steps[: wanted.made]):
            active.append(self._one(step, folder / f"{number:03d}", active))
        system = [step.mount for step in wanted.steps[wanted.made :]]
        if system:
            system[0] = self._transformed(wanted.steps[wanted.made], active)
        if temporary and active:
            system.append(Mount("bind", active[-1].mount_point, options=("rbind",)))
        return tuple(active), tuple(system)

    def _one(self, step: Step, point: Path, active: Sequence[ActiveMount]) -> ActiveMount:
        mount = self._transformed(step, active)
        point.with_suffix(".type").write_text(step.handler)
        if step.handler:
            return self._handlers[step.handler].mount(mount, str(point), active)
        point.mkdir(mode=0o700)
        mounting.mount_one(mount, str(point))
        return ActiveMount(mount, str(point), time.time_ns())

    def _transformed(self, step: Step, active: Sequence[ActiveMount]) -> Mount:
        mount = step.mount
        for name, type in step.transformers:
            mount = self._transformers[name](replace(mount, type=type), active)
        return mount

    def _undo(self, record: Record) -> None:
        """Mounts first, then the record: it is found again for as long as anything is mounted."""
        self._clear(self._targets / record.folder)
        with self._lock:
            self._records.remove(record)

    def _try_undo(self, record: Record) -> None:
        try:
            self._undo(record)
        except CortenError as error:
            log.warning("activation %s/%s: cannot be undone: %s", record.namespace, record.name[:80], error.message)

    def _clear(self, folder: Path) -> None:
        """Unmount what is in a folder of mount points, the last first, and remove it."""
        with mapped(f"undo the mounts in {folder}"):
            if not folder.exists():
                return
            for marker in sorted(folder.glob("*.type"), reverse=True):
                point, handler = marker.with_suffix(""), self._handlers.get(marker.read_text())
                if handler is not None:
                    handler.unmount(str(point))
                else:
                    mounting.unmount_all(point)
            mounting.ensure_unmounted(folder)
            shutil.rmtree(folder)

    def _refuse_second(self, key: Key) -> None:
        """One that is there keeps its name; one that was cut off makes room."""
        with self._lock:
            record = self._records.get(*key)
            self._touched.add(key)
        if record is None:
            return
        if record.stage is Stage.ACTIVE:
            raise AlreadyExists(f"activation {key[1][:80]!r}: it exists already")
        self._undo(record)

    def _active(self, namespace: str, name: str) -> Record:
        record = self._records.get(namespace, name)
        self._touched.add((namespace, name))
        if record is None or record.stage is not Stage.ACTIVE:
            raise NotFound(f"activation {name[:80]!r}: it does not exist")
        return record

    @contextmanager
    def _held(self, key: Key) -> Iterator[None]:
        """One at a time for each name, in turn: how the first one ends decides about the second."""
        with self._lock:
            if not self._freed.wait_for(lambda: key not in self._busy, TURN):
                raise Unavailable(
                    f"activation {key[1][:80]!r}: another call has been at work on it for {TURN:g} s; try again later"
                )
            self._busy.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(key)
                self._freed.notify_all()


def _check(name: str, mounts: Sequence[Mount], labels: Mapping[str, str]) -> None:
    if not name or len(name) > MAX_NAME or "\0" in name:
        raise InvalidArgument(f"activation {name[:80]!r}: it needs a name of at most {MAX_NAME} characters")
    if not mounts or len(mounts) > MAX_MOUNTS:
        raise InvalidArgument(f"activation {name[:80]!r}: it has {len(mounts)} mounts; 1 to {MAX_MOUNTS} are taken")
    label_rules.validate(labels)


def _field(activation: Activation, path: Sequence[str]) -> str | None:
    match path:
        case ["name"]:
            return activation.name
        case ["labels", *rest]:
            return activation.labels.get(".".join(rest))
    return None


def _forget_other_boot(state: Path, boot: str) -> None:
    """What another boot has left in the state folder is mounted nowhere."""
    marker = state / "boot"
    if marker.exists() and marker.read_text() != boot:
        for name in ("records", "t"):
            if (state / name).exists():
                shutil.rmtree(state / name)
    marker.write_text(boot)
