"""The LMDB environment: opened by one process alone, with a map that is large from the start and grows on demand.

http://www.lmdb.tech/doc/ (Restrictions/Caveats). The map is address space, not memory or disk: the file is as large as
its content. An environment must not be used after fork, and the map can only be changed while no transaction is live.
"""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import lmdb
from corten.errors import CortenError, DataLoss, Internal, ResourceExhausted, Unavailable, Unknown, mapped

from .gate import Gate

MAP_SIZE = 64 << 30
"""Bytes of address space for the map; a host that refuses it gets half, and half of that, down to `MAP_MINIMUM`."""
MAP_MINIMUM = 1 << 20
READERS = 1024
"""Read transactions at once: more than the daemon has threads."""

_DAMAGED = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.VersionMismatchError, lmdb.InvalidError, lmdb.PanicError)


class Environment:
    """`<folder>/data.mdb`. Raises Unavailable when another process (or another store of this one) has it open."""

    def __init__(self, folder: Path, *, sync: bool = True, map_size: int = MAP_SIZE) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = _lock(folder / "owner")
        self._pid = os.getpid()
        self._gate = Gate()
        try:
            self._env = _open(folder, sync, map_size)
            self._env.reader_check()
            _close_on_exec(self.data_file)
            if sync:
                _sync_folder(folder)
        except BaseException:
            os.close(self._lock)
            raise

    def __repr__(self) -> str:
        return f"Environment({self._folder}, map_size={self.map_size})"

    @property
    def data_file(self) -> Path:
        return self._folder / "data.mdb"

    @property
    def map_size(self) -> int:
        return int(self._env.info()["map_size"])

    @property
    def used(self) -> int:
        """Bytes of the file that hold, or once held, pages."""
        return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    @property
    def free(self) -> int:
        """Bytes of the file that hold nothing any more, roughly: LMDB uses them again before it extends the file."""
        stat = self._env.stat()
        live = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return self.used - int(live * stat["psize"])

    def begin_read(self) -> Any:
        """A read transaction; give it back with `end_read`."""
        self._check_process()
        self._gate.enter()
        try:
            return self._env.begin()
        except BaseException:
            self._gate.leave()
            raise

    def end_read(self, txn: Any) -> None:
        txn.abort()
        self._gate.leave()

    def begin_write(self, parent: Any = None) -> Any:
        """A write transaction, or a child of one; for the writer thread alone."""
        self._check_process()
        return self._env.begin(write=True, parent=parent)

    def grow(self) -> None:
        """Double the map, once all readers are done; no write transaction may be open."""
        with self._gate.shut():
            self._env.set_mapsize(self.map_size * 2)

    def close(self) -> None:
        """Wait for readers, and let others have the folder."""
        with self._gate.shut():
            self._env.close()
        os.close(self._lock)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise Internal(f"metadata store {self._folder}: used in a forked process, which LMDB forbids")


def translated(error: Exception, action: str) -> CortenError:
    """The error of the vocabulary for one of LMDB's or of the operating system's."""
    if isinstance(error, CortenError):
        return error
    if isinstance(error, _DAMAGED):
        return DataLoss(f"metadata store: cannot {action}: {error}; restore it from a copy")
    if is_full(error):
        return ResourceExhausted(f"metadata store: cannot {action}: {error}; free space on its disk")
    if isinstance(error, lmdb.BadValsizeError):
        return Internal(f"metadata store: cannot {action}: {error}")
    return Unknown(f"metadata store: cannot {action}: {type(error).__name__}: {error}")


def is_full(error: Exception) -> bool:
    """Whether the disk (or the quota) was the cause."""
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    return code in (errno.ENOSPC, errno.EDQUOT)


def _open(folder: Path, sync: bool, map_size: int) -> Any:
    while True:
        try:
            return lmdb.open(
                str(folder), map_size=map_size, mode=0o600, sync=sync, metasync=sync, max_readers=READERS,
                readahead=False, max_spare_txns=4,
            )  # fmt: skip
        except (lmdb.Error, MemoryError) as error:
            refused = isinstance(error, (lmdb.MemoryError, MemoryError)) or getattr(error, "code", 0) == errno.ENOMEM
            if not refused or map_size // 2 < MAP_MINIMUM:
                raise translated(error, f"open {folder}") from error
            map_size //= 2


def _close_on_exec(path: Path) -> None:
    """LMDB leaves one descriptor of its data file to programs that are executed, and they could write to it."""
    if sys.platform == "win32":
        return
    wanted = os.stat(path)
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the descriptor of the listing itself, and those that others close meanwhile
            if os.path.samestat(os.fstat(int(name)), wanted):
                os.set_inheritable(int(name), False)


def _sync_folder(folder: Path) -> None:
    """LMDB syncs what is in its files, but not that they are there."""
    if sys.platform == "win32":
        return
    for each in (folder, folder.parent):
        fd = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _lock(path: Path) -> int:
    """A descriptor that holds the folder for this process; LMDB itself would let several processes in."""
    with mapped(f"metadata store {path.parent}: cannot open it"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    if sys.platform == "win32":
        return fd
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise Unavailable(f"metadata store {path.parent}: process {holder} has it open; stop it first") from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
