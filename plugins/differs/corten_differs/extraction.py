"""Entries of a tar archive become files: few system calls each, on descriptors, never following a link.

A file costs open, write, utimensat and close; owner and mode only where the kernel would have chosen others (the
process has umask 0 and is root).
"""

import errno
import os
import stat
import sys
from collections.abc import Callable

from corten.errors import CortenError, InvalidArgument, PermissionDenied, ResourceExhausted, Unimplemented, Unknown
from corten.linux import syscalls

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import tar_header as tar
from .directories import MAX_PATH, Directories, Directory
from .lower import is_whiteout
from .tar_header import Entry
from .tar_stream import TarStream
from .whiteouts import Whiteouts
from .xattrs import write_xattrs

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
AUFS = b".wh..wh."
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_MAJOR, MAX_MINOR = 0xFFF, 0xFFFFF

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EMLINK)
_FORBIDDEN = (errno.EPERM, errno.EACCES, errno.EROFS)
_MALFORMED = (
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EINVAL, errno.ENOENT, errno.ERANGE, errno.EFBIG),
)
_REFUSED: dict[int, type[CortenError]] = {
    **dict.fromkeys(_FULL, ResourceExhausted),
    **dict.fromkeys(_FORBIDDEN, PermissionDenied),
    **dict.fromkeys(_MALFORMED, InvalidArgument),
}


class Extraction:
    """One layer on its way into one tree; `devices`: whether nodes can be made (not in a user namespace)."""

    def __init__(
        self, directories: Directories, whiteouts: Whiteouts, *, devices: bool = True, absolute_names: bool = False
    ) -> None:
        self._directories = directories
        self._whiteouts = whiteouts
        self._devices = devices
        self._absolute_names = absolute_names
        self._makers: dict[bytes, Callable[[Entry, Directory, bytes, TarStream], None]] = {
            tar.REGULAR: self._regular,
            tar.DIRECTORY: self._directory,
            tar.SYMLINK: self._symlink,
            tar.LINK: self._link,
            tar.CHARACTER: self._device,
            tar.BLOCK_DEVICE: self._device,
            tar.FIFO: self._fifo,
        }

    def run(self, stream: TarStream) -> None:
        """Extract every entry. Errors are of `corten.errors` and name the entry."""
        try:
            while (entry := stream.next_entry()) is not None:
                self._extract(entry, stream)
            self._whiteouts.finish()
            self._directories.set_times()
        except OSError as error:
            kind = _REFUSED.get(error.errno or 0, Unknown)
            raise kind(f"entry {shown(stream.current)}: {os.strerror(error.errno or 0)} ({error})") from error
        except CortenError as error:
            raise type(error)(f"entry {shown(stream.current)}: {error.message}") from error

    def _extract(self, entry: Entry, stream: TarStream) -> None:
        self._directories.tidy()
        head, base = split(entry.name, self._absolute_names)
        if base.startswith(WHITEOUT):
            return self._whiteout(head, base)
        if head.startswith(AUFS):
            return None
        if not base:
            return self._root(entry)
        maker = self._makers.get(entry.kind)
        if maker is None:
            raise Unimplemented(f"entry type {entry.kind!r} is not supported")
        directory = self._directories.at(head)
        maker(entry, directory, base, stream)
        return self._whiteouts.created(directory, base)

    def _whiteout(self, head: bytes, base: bytes) -> None:
        if base == OPAQUE:
            return self._whiteouts.clear(self._directories.at(head))
        if base.startswith(AUFS):
            return None
        name = base[len(WHITEOUT) :]
        if name in (b"", b".", b".."):
            raise InvalidArgument("a whiteout of no file")
        return self._whiteouts.remove(self._directories.at(head), name)

    def _root(self, entry: Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise InvalidArgument("an entry without a name that is no directory")
        root = self._directories.root
        self._finish_directory(entry, root.fd)
        self._directories.times[b""] = (entry.atime, entry.mtime)

    def _regular(self, entry: Entry, directory: Directory, name: bytes, stream: TarStream) -> None:
        mode = entry.mode
        try:
            fd = os.open(name, CREATE, mode & 0o777, dir_fd=directory.fd)
        except FileExistsError:
            self._directories.remove(directory, name)
            fd = os.open(name, CREATE, mode & 0o777, dir_fd=directory.fd)
        try:
            self._write(entry, fd, stream)
            if entry.uid or entry.gid or directory.group > 0:
                os.fchown(fd, entry.uid, entry.gid)
            if mode & 0o7000:
                os.fchmod(fd, mode)
            if entry.xattrs:
                write_xattrs(fd, entry.xattrs)
            os.utime(fd, ns=(entry.atime, entry.mtime))
        finally:
            os.close(fd)

    def _write(self, entry: Entry, fd: int, stream: TarStream) -> None:
        if entry.segments is not None:
            return _write_sparse(entry, fd, stream)
        if not entry.size:
            return None
        data = stream.small()
        if data is not None:
            return _write_all(fd, data)
        for piece in stream.pieces():
            _write_all(fd, piece)
        return None

    def _directory(self, entry: Entry, directory: Directory, name: bytes, stream: TarStream) -> None:
        try:
            os.mkdir(name, entry.mode & 0o777, dir_fd=directory.fd)
            new = not entry.mode & 0o7000 and directory.group < 0
        except FileExistsError:
            new = False
            found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                self._directories.remove(directory, name)
                os.mkdir(name, 0o700, dir_fd=directory.fd)
                self._whiteouts.replaced(directory, name)
        if not new or entry.uid or entry.gid or entry.xattrs:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
            try:
                self._finish_directory(entry, fd)
            finally:
                os.close(fd)
        self._directories.times[directory.join(name)] = (entry.atime, entry.mtime)

    def _finish_directory(self, entry: Entry, fd: int) -> None:
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        if entry.xattrs:
            write_xattrs(fd, entry.xattrs)

    def _symlink(self, entry: Entry, directory: Directory, name: bytes, stream: TarStream) -> None:
        if not entry.link or b"\0" in entry.link:
            raise InvalidArgument("a symbolic link without a target")
        self._replacing(directory, name, lambda: os.symlink(entry.link, name, dir_fd=directory.fd))
        self._finish(entry, directory, name)

    def _link(self, entry: Entry, directory: Directory, name: bytes, stream: TarStream) -> None:
        head, base = split(entry.link, self._absolute_names)
        if not base:
            raise InvalidArgument(f"a hard link to {shown(entry.link)}")
        source = self._directories.at(head)
        if source.path == directory.path and base == name:
            return
        self._copy_up(source, base)
        self._replacing(directory, name, lambda: _link(source, base, directory, name))

    def _copy_up(self, source: Directory, base: bytes) -> None:
        lower = self._directories.lower
        try:
            os.stat(base, dir_fd=source.fd, follow_symlinks=False)
        except FileNotFoundError:
            if lower is None or not lower.copy_file(source.path, base, source.fd):
                raise InvalidArgument(f"the target {shown(source.join(base))} of a hard link is missing") from None
        if lower is not None and is_whiteout(source.fd, base):
            raise InvalidArgument(f"the target {shown(source.join(base))} of a hard link was removed")

    def _device(self, entry: Entry, directory: Directory, name: bytes, stream: TarStream) -> None:
        major, minor = entry.major, entry.minor
        if not 0 <= major <= MAX_MAJOR or not 0 <= minor <= MAX_MINOR:
            raise InvalidArgument(f"the device number {major}, {minor} is out of range")
        if entry.kind == tar.CHARACTER and not major and not minor:
            raise InvalidArgument("the character device 0, 0 is overlayfs's mark of a removed file")
        if self._devices:
            kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
            self._node(entry, directory, name, kind, os.makedev(major, minor))

    def _fifo(self, entry: Entry, directory: Directory, name: bytes, stream: TarStream) -> None:
        self._node(entry, directory, name, stat.S_IFIFO, 0)

    def _node(self, entry: Entry, directory: Directory, name: bytes, kind: int, number: int) -> None:
        self._replacing(directory, name, lambda: os.mknod(name, kind | entry.mode, number, dir_fd=directory.fd))
        self._finish(entry, directory, name)
        if entry.mode & 0o6000:
            _restore_mode(entry, directory, name)

    def _finish(self, entry: Entry, directory: Directory, name: bytes) -> None:
        if entry.uid or entry.gid or directory.group > 0:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory.fd, follow_symlinks=False)
        if entry.xattrs:
            write_xattrs(b"/" + directory.join(name), entry.xattrs)
        os.utime(name, ns=(entry.atime, entry.mtime), dir_fd=directory.fd, follow_symlinks=False)

    def _replacing(self, directory: Directory, name: bytes, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._directories.remove(directory, name)
            make()


def split(name: bytes, absolute_names: bool = False) -> tuple[bytes, bytes]:
    """The clean path of the directory and the name in it; both empty for the root.

    Raises InvalidArgument for a name that is absolute (unless allowed), leads upwards or is too long.
    """
    if name.endswith(b"/"):
        name = name[:-1]
    if name.startswith(b"./"):
        name = name[2:]
    if b"//" in name or b"./" in name or name.startswith((b"/", b".")) or name.endswith(b".") or not name:
        name = _clean(name, absolute_names)
    if len(name) > MAX_PATH:
        raise InvalidArgument(f"a name of {len(name)} bytes; at most {MAX_PATH} are allowed")
    head, _, base = name.rpartition(b"/")
    return head, base


def _clean(name: bytes, absolute_names: bool) -> bytes:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise InvalidArgument("a name that leads upwards")
    if parts and name.startswith(b"/") and not absolute_names:
        raise InvalidArgument("an absolute name; set absolute_names to take it as relative to the root")
    return b"/".join(parts)


def shown(name: bytes) -> str:
    """A name for a message: at most 200 characters, escaped."""
    text = name.decode(errors="backslashreplace")
    return repr(text if len(text) <= 200 else text[:200] + "…")


def _link(source: Directory, base: bytes, directory: Directory, name: bytes) -> None:
    os.link(base, name, src_dir_fd=source.fd, dst_dir_fd=directory.fd, follow_symlinks=False)


def _restore_mode(entry: Entry, directory: Directory, name: bytes) -> None:
    """The change of owner took the set-id bits away. They mean nothing on a node, so an old kernel may go without."""
    try:
        syscalls.fchmodat2(directory.fd, name, entry.mode)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def _write_all(fd: int, data: bytes | memoryview) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _write_sparse(entry: Entry, fd: int, stream: TarStream) -> None:
    pieces = stream.pieces()
    rest = memoryview(b"")
    for offset, length in entry.segments or ():
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            rest = rest or next(pieces, memoryview(b""))
            if not rest:
                raise InvalidArgument("a sparse file with less data than its map says")
            part, rest = rest[:length], rest[length:]
            _write_all(fd, part)
            length -= len(part)
    os.ftruncate(fd, entry.real_size)
