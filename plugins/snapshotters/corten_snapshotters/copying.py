"""A faithful copy of a file tree: hard links stay links, devices, owners, modes, times and attributes are kept.

File contents are shared where the file system can (reflink), and copied inside the kernel where it cannot.
"""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

assert sys.platform != "win32"

_FICLONE = 0x40049409
_CHUNK = 128 << 20


def copy_tree(source: Path, target: Path) -> None:
    """Copy everything in the directory `source` into the empty directory `target`, and its attributes too.

    Raises OSError.
    """
    links: dict[tuple[int, int], str] = {}
    pending = [(os.fspath(source), os.fspath(target))]
    finished: list[tuple[str, os.stat_result]] = [(os.fspath(target), os.lstat(source))]
    _copy_xattrs(os.fspath(source), os.fspath(target))
    while pending:
        below, made = pending.pop()
        with os.scandir(below) as entries:
            for entry in entries:
                path = os.path.join(made, entry.name)
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    os.mkdir(path, 0o700)
                    _copy_xattrs(entry.path, path)
                    pending.append((entry.path, path))
                    finished.append((path, found))
                else:
                    _copy_entry(entry.path, path, found, links)
    # A directory's time changes with every entry made in it, so it is set last, the innermost first.
    for path, found in reversed(finished):
        _copy_attributes(path, found)


def _copy_entry(source: str, target: str, found: os.stat_result, links: dict[tuple[int, int], str]) -> None:
    inode = (found.st_dev, found.st_ino)
    if found.st_nlink > 1 and inode in links:
        return os.link(links[inode], target, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        _copy_file(source, target)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISSOCK(found.st_mode):
        return None  # a socket is nothing without the process that bound it
    else:
        os.mknod(target, found.st_mode, found.st_rdev)
    if found.st_nlink > 1:
        links[inode] = target
    # Capabilities are an attribute that a change of owner takes away, so the owner comes first.
    os.lchown(target, found.st_uid, found.st_gid)
    _copy_xattrs(source, target)
    return _copy_attributes(target, found, owner=False)


def _copy_file(source: str, target: str) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy_bytes(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_bytes(reading: int, writing: int) -> None:
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
        return
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            raise
    size = os.fstat(reading).st_size
    for start, end in _data(reading, size):
        os.lseek(writing, start, os.SEEK_SET)
        while start < end and (sent := os.sendfile(writing, reading, start, min(_CHUNK, end - start))):
            start += sent
    os.ftruncate(writing, size)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that are not holes: /var/log/lastlog may be sparse over terabytes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _copy_xattrs(source: str, target: str) -> None:
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return
        raise
    for name in names:
        os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)


def _copy_attributes(path: str, found: os.stat_result, *, owner: bool = True) -> None:
    if owner:
        os.lchown(path, found.st_uid, found.st_gid)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(path, stat.S_IMODE(found.st_mode))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
