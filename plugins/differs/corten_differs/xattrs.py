"""Extended attributes that belong to a layer, and those that belong to the machinery beneath (xattr(7))."""

import errno
import os
import sys

assert sys.platform != "win32"

_MACHINERY = ("trusted.overlay.", "user.overlay.", "security.selinux", "security.ima", "security.evm", "system.nfs4")
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)


def belongs_to_layer(name: str) -> bool:
    """Whether an attribute is data of the image: not overlayfs's own marks, and not what the host's policy gives."""
    return not name.startswith(_MACHINERY)


def read_xattrs(path: int | str | bytes) -> dict[str, bytes]:
    """Those of the layer by name, in order; none where the file system has none."""
    follow = {} if isinstance(path, int) else {"follow_symlinks": False}
    try:
        names = os.listxattr(path, **follow)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return {}
        raise
    return {name: os.getxattr(path, name, **follow) for name in sorted(names) if belongs_to_layer(name)}


def write_xattrs(path: int | bytes, xattrs: dict[str, bytes]) -> None:
    """Set those that belong to a layer; a file system that has none is no error (containerd warns only, too)."""
    follow = {} if isinstance(path, int) else {"follow_symlinks": False}
    for name, value in xattrs.items():
        if not belongs_to_layer(name):
            continue
        try:
            os.setxattr(path, name, value, **follow)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise


def copy_xattrs(source: int, target: int) -> None:
    """From one descriptor to another."""
    write_xattrs(target, read_xattrs(source))
