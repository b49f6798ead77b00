"""The records of one snapshotter: which snapshots there are, on which parents; durable once a call has returned.

    snapshots
      id       INTEGER  never used twice; the name of the snapshot's directory
      name     TEXT     key or name, unique over all kinds
      kind     TEXT     view | active | committed
      parent   INTEGER  id of a committed snapshot, or null
      created, updated  nanoseconds since the epoch
      labels   TEXT     JSON object
      size, inodes      usage, once committed; size is -1 until it is measured
      bytes             of all regular files together, when it was measured; else -1
      state             `State`

SQLite with a write-ahead log and synchronous=FULL: a transaction that returned survives a power cut. One connection is
shared under a lock, since a call takes microseconds. Not LMDB: its keys end at 511 bytes while names may have 32 KiB,
and finding children needs an index; both come for free here, and the difference in speed is lost beside one fsync.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from enum import IntEnum
from pathlib import Path
from threading import RLock

from corten.contracts.snapshots import Kind, SnapshotInfo, Usage
from corten.errors import (
    AlreadyExists,
    CortenError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unknown,
)
from corten.values import dataclass

SCHEMA_VERSION = 2
PAGE = 256
"""Records read at once by a walk; no transaction lives between two pages."""

_SCHEMA = """
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    parent INTEGER REFERENCES snapshots(id),
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    labels TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    inodes INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT -1,
    state INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX children ON snapshots (parent);
PRAGMA user_version = 2;
"""

_FROM_1 = """
ALTER TABLE snapshots ADD COLUMN bytes INTEGER NOT NULL DEFAULT -1;
ALTER TABLE snapshots ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
"""

_SELECT = """
SELECT s.id, s.name, s.kind, coalesce(p.name, ''), s.created, s.updated, s.labels, s.size, s.inodes, s.parent
FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent
"""

_CHAIN = """
WITH RECURSIVE chain(id, parent, depth) AS (
    SELECT id, parent, 0 FROM snapshots WHERE id = ?
    UNION ALL SELECT s.id, s.parent, depth + 1 FROM snapshots s JOIN chain ON s.id = chain.parent
) SELECT id FROM chain WHERE depth > 0 ORDER BY depth
"""


@dataclass(frozen=True, slots=True)
class Record:
    """A snapshot with its id, its usage, and the ids of its parents, nearest first."""

    id: int
    info: SnapshotInfo
    usage: Usage = field(default_factory=Usage)
    parents: tuple[int, ...] = ()


class State(IntEnum):
    """Of a committed tree after a power loss (`soundness`)."""

    SOUND = 0
    DOUBTFUL = 1
    DAMAGED = 2


class Records:
    """Any thread may call; `what` names the snapshotter in messages."""

    def __init__(self, path: Path, what: str) -> None:
        self._what = what
        self._lock = RLock()
        with _mapped(f"{what}: open {path}"):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.execute("PRAGMA cache_size=-512")
            self._migrate(path)

    def __repr__(self) -> str:
        return f"Records({self._what})"

    def close(self) -> None:
        """No call may follow."""
        with self._lock:
            self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction around what is called inside: all of it becomes durable at the end, or nothing."""
        with self._lock, _mapped(f"{self._what}: write records"):
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def get(self, key: str) -> Record:
        """The record with the ids of its parents. Raises NotFound."""
        with self._lock, _mapped(f"{self._what}: read snapshot"):
            row = self._db.execute(f"{_SELECT} WHERE s.name = ?", (self._key(key),)).fetchone()
            if row is None:
                raise NotFound(f"{self.title(key)} does not exist")
            parents = self._db.execute(_CHAIN, (row[0],)).fetchall() if row[9] is not None else ()
            return _record(row, tuple(parent for (parent,) in parents))

    def create(self, key: str, kind: Kind, parent: str, labels: Mapping[str, str]) -> Record:
        """Raises AlreadyExists, NotFound for the parent, InvalidArgument if that is not committed."""
        with self.writing():
            self.ensure_free(key)
            above = self.committed(parent) if parent else None
            now = time.time_ns()
            cursor = self._db.execute(
                "INSERT INTO snapshots (name, kind, parent, created, updated, labels) VALUES (?, ?, ?, ?, ?, ?)",
                (key, kind.value, above.id if above else None, now, now, _dump(labels)),
            )
            info = SnapshotInfo(key, kind, parent, now, now, dict(labels))
            return Record(cursor.lastrowid or 0, info, Usage(), (above.id, *above.parents) if above else ())

    def commit(self, name: str, key: str, labels: Mapping[str, str], parent: str = "") -> None:
        """Turn the active `key` into the committed `name`, with these labels instead of those of `key`.

        One without a parent gets `parent`. Its usage is not known yet.
        """
        with self.writing():
            record = self.committable(name, key, parent)
            above = self.committed(parent, FailedPrecondition).id if parent else None
            now = time.time_ns()
            self._db.execute(
                "UPDATE snapshots SET name=?, kind=?, created=?, updated=?, labels=?, size=-1,"
                " parent=coalesce(parent, ?) WHERE id=?",
                (name, Kind.COMMITTED.value, now, now, _dump(labels), above, record.id),
            )

    def measured(self, id: int, usage: Usage, size: int) -> None:
        """Note the usage of a committed snapshot, and how many bytes its regular files have together."""
        query = "UPDATE snapshots SET size=?, inodes=?, bytes=? WHERE id=? AND kind=? AND state=0"
        with self.writing():
            self._db.execute(query, (usage.size, usage.inodes, size, id, Kind.COMMITTED.value))

    def doubt(self) -> int:
        """Every measured tree may be damaged; how many these are."""
        with self.writing():
            query = "UPDATE snapshots SET state=? WHERE kind=? AND bytes >= 0 AND state=?"
            return self._db.execute(query, (State.DOUBTFUL, Kind.COMMITTED.value, State.SOUND)).rowcount

    def judge(self, id: int, state: State) -> None:
        with self.writing():
            self._db.execute("UPDATE snapshots SET state=? WHERE id=?", (state, id))

    def in_state(self, state: State) -> set[int]:
        """Ids of the committed snapshots in this state."""
        with self._lock, _mapped(f"{self._what}: read states"):
            rows = self._db.execute("SELECT id FROM snapshots WHERE state=? AND kind=?", (state, Kind.COMMITTED.value))
            return {id for (id,) in rows}

    def unmeasured(self) -> set[int]:
        """Ids of the committed snapshots whose trees were not measured yet."""
        with self._lock, _mapped(f"{self._what}: read states"):
            query = "SELECT id FROM snapshots WHERE bytes < 0 AND state=0 AND kind=?"
            return {id for (id,) in self._db.execute(query, (Kind.COMMITTED.value,))}

    def condition(self, id: int) -> tuple[State, int, int]:
        """State, inodes and bytes of a snapshot. Raises NotFound."""
        with self._lock, _mapped(f"{self._what}: read state"):
            row = self._db.execute("SELECT state, inodes, bytes FROM snapshots WHERE id=?", (id,)).fetchone()
        if row is None:
            raise NotFound(f"snapshot {id} in {self._what} does not exist")
        return State(row[0]), row[1], row[2]

    def replace(self, name: str, key: str) -> tuple[int, int]:
        """The active `key` is gone, its tree is for the damaged `name`: the ids of both, `name`'s first.

        Raises NotFound, FailedPrecondition if `name` is not damaged or `key` not active on the same parent.
        """
        with self.writing():
            damaged, made = self.get(name), self.get(key)
            if self.condition(damaged.id)[0] is not State.DAMAGED:
                raise FailedPrecondition(f"{self.title(name)} is not damaged: nothing takes its place")
            if made.info.kind is not Kind.ACTIVE or made.info.parent != damaged.info.parent:
                raise FailedPrecondition(
                    f"{self.title(key)} cannot take its place: it is not active on the same parent"
                )
            self._db.execute("DELETE FROM snapshots WHERE id=?", (made.id,))
            query = "UPDATE snapshots SET state=?, size=-1, bytes=-1 WHERE id=?"
            self._db.execute(query, (State.SOUND, damaged.id))
            return damaged.id, made.id

    def committable(self, name: str, key: str, parent: str = "") -> Record:
        """The active `key` that may become `name` on `parent`.

        Raises AlreadyExists, NotFound, FailedPrecondition, InvalidArgument if the key has another parent.
        """
        record = self.get(key)
        if record.info.kind is not Kind.ACTIVE:
            raise FailedPrecondition(
                f"{self.title(key)} is {_WORDS[record.info.kind]}: only an active one is committed"
            )
        self.ensure_free(name)
        if parent and record.info.parent not in ("", parent):
            raise InvalidArgument(f"{self.title(key)} cannot be committed on {parent!r}: it lies on another parent")
        return record

    def committed(self, parent: str, error: type[CortenError] = InvalidArgument) -> Record:
        """The record of a parent. Raises NotFound, `error` if it is not committed."""
        record = self.get(parent)
        if record.info.kind is not Kind.COMMITTED:
            raise error(f"{self.title(parent)} is {_WORDS[record.info.kind]}: only a committed one is a parent")
        return record

    def ensure_free(self, key: str) -> None:
        """Raises AlreadyExists if a snapshot has that key or name."""
        query = "SELECT kind FROM snapshots WHERE name = ?"
        with self._lock, _mapped(f"{self._what}: read snapshot"):
            row = self._db.execute(query, (self._key(key),)).fetchone()
        if row:
            raise AlreadyExists(f"{self.title(key)} exists already ({_WORDS[Kind(row[0])]})")

    def remove(self, key: str) -> Record:
        """Raises NotFound, FailedPrecondition while it has children."""
        with self.writing():
            record = self.get(key)
            children = self._children(record.id)
            if children:
                some = ", ".join(map(repr, children[:3]))
                raise FailedPrecondition(
                    f"{self.title(key)} cannot be removed: {some} built on it (remove those first)"
                )
            self._db.execute("DELETE FROM snapshots WHERE id = ?", (record.id,))
            return record

    def relabel(self, key: str, labels: Mapping[str, str]) -> Record:
        """Replace the labels. Raises NotFound."""
        with self.writing():
            record = self.get(key)
            now = time.time_ns()
            self._db.execute("UPDATE snapshots SET labels=?, updated=? WHERE id=?", (_dump(labels), now, record.id))
            return replace(record, info=replace(record.info, labels=dict(labels), updated_at=now))

    def walk(self) -> Iterator[Record]:
        """All records by ascending name (bytewise), without the ids of their parents; read in pages."""
        after = ""
        while page := self._page(after):
            yield from page
            after = page[-1].info.name

    def ids(self) -> dict[int, Kind]:
        """Every id, with its kind."""
        with self._lock, _mapped(f"{self._what}: read ids"):
            rows = self._db.execute("SELECT id, kind FROM snapshots").fetchall()
            return {id: Kind(kind) for id, kind in rows}

    def title(self, key: str) -> str:
        """How messages call a snapshot."""
        return f"snapshot {key if len(key) <= 160 else key[:160] + '…'!r} in {self._what}"

    def _page(self, after: str) -> list[Record]:
        with self._lock, _mapped(f"{self._what}: walk"):
            query = f"{_SELECT} WHERE s.name > ? ORDER BY s.name LIMIT {PAGE}"
            return [_record(row, ()) for row in self._db.execute(query, (after,))]

    def _children(self, id: int) -> list[str]:
        return [name for (name,) in self._db.execute("SELECT name FROM snapshots WHERE parent = ? LIMIT 4", (id,))]

    def _key(self, key: str) -> str:
        if not key:
            raise InvalidArgument(f"snapshot in {self._what}: its key is empty")
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"snapshot in {self._what}: its key is not valid UTF-8") from error
        return key

    def _migrate(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version == 1:
            self._db.executescript(f"BEGIN; {_FROM_1} COMMIT;")
        elif version != SCHEMA_VERSION:
            raise FailedPrecondition(
                f"{path} has schema {version}, and this Corten reads {SCHEMA_VERSION}: upgrade Corten"
            )


_WORDS = {Kind.VIEW: "a view", Kind.ACTIVE: "active", Kind.COMMITTED: "committed"}


def _record(row: tuple[int, str, str, str, int, int, str, int, int, int | None], parents: tuple[int, ...]) -> Record:
    id, name, kind, parent, created, updated, labels, size, inodes, _ = row
    info = SnapshotInfo(name, Kind(kind), parent, created, updated, json.loads(labels))
    return Record(id, info, Usage(size, inodes), parents)


def _dump(labels: Mapping[str, str]) -> str:
    return json.dumps(dict(labels), separators=(",", ":"))


_ERRORS = {
    sqlite3.SQLITE_FULL: ResourceExhausted,
    sqlite3.SQLITE_BUSY: Unavailable,
    sqlite3.SQLITE_LOCKED: Unavailable,
    sqlite3.SQLITE_CORRUPT: DataLoss,
    sqlite3.SQLITE_NOTADB: DataLoss,
}


@contextmanager
def _mapped(action: str) -> Iterator[None]:
    """Errors of SQLite by their primary code; one without a code comes of a closed connection."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        kind = Unavailable if code is None else _ERRORS.get(code & 0xFF, Unknown)
        raise kind(f"{action}: {error}") from error
