"""A file tree with all that is odd in images, and what is done to it by a second layer; by system calls, as root."""

import os
import shutil
import stat
import struct
from pathlib import Path

TIME = 1_500_000_000
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""`security.capability` with cap_net_bind_service (linux/capability.h, version 2)."""


def first(tree: Path) -> None:
    """Links, owners, modes, attributes, nodes, holes, and names of every kind."""
    for name in ("again", "opaque/sub", "deep", "swap/was-dir", "swap/real", "swap/also-dir"):
        (tree / name).mkdir(parents=True)
        (tree / name / "old").write_text("old")
    _links(tree)
    _attributes(tree)
    _nodes(tree)
    _names(tree)
    (tree / "swap/was-file").write_text("file")
    (tree / "swap/was-link").symlink_to("real")
    (tree / "gone").touch()


def _links(tree: Path) -> None:
    _file(tree / "hard-a", "linked")
    os.chown(tree / "hard-a", 11, 12)
    (tree / "hard-b").hardlink_to(tree / "hard-a")
    (tree / "deep/hard-c").hardlink_to(tree / "hard-a")
    (tree / "soft").symlink_to("nowhere")
    os.chown(tree / "soft", 5, 6, follow_symlinks=False)
    os.utime(tree / "soft", (TIME, TIME), follow_symlinks=False)


def _attributes(tree: Path) -> None:
    _file(tree / "setuid", "x")
    os.chown(tree / "setuid", 3_000_000_000, 2_999_999_999)
    (tree / "setuid").chmod(0o6755)
    os.setxattr(_file(tree / "capable", "x"), "security.capability", CAPABILITY)
    os.setxattr(_file(tree / "attributes", "x"), "user.bytes", b"\0\xff=\n x")
    os.setxattr(tree / "attributes", "user.long", b"v" * 3000)
    (tree / "attributes-dir").mkdir()
    (tree / "attributes-dir").chmod(0o2751)
    os.setxattr(tree / "attributes-dir", "user.dir", b"d")
    for name, mode in (("no-mode", 0), ("read-only", 0o444), ("sticky", 0o1777)):
        _file(tree / name, name).chmod(mode)
    os.utime(_file(tree / "epoch", ""), (0, 0))
    os.utime(_file(tree / "future", ""), (5_000_000_000, 5_000_000_000))


def _nodes(tree: Path) -> None:
    os.mknod(tree / "character", stat.S_IFCHR | 0o640, os.makedev(5, 1))
    os.mknod(tree / "block", stat.S_IFBLK | 0o600, os.makedev(4095, 1048575))
    os.mkfifo(tree / "fifo", 0o622)
    with (tree / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"middle")
        file.truncate(2 << 20)


def _names(tree: Path) -> None:
    for name in (
        b"raw-\xff\xfe\x80",
        b"new\nline\ttab",
        b" blank ",
        b"back\\slash",
        b"n" * 255,
        "ü\U0001f600".encode(),
        b"...",
    ):
        (tree / os.fsdecode(name)).write_bytes(name)
    (tree / os.fsdecode(b"raw-link-\xe9")).symlink_to(os.fsdecode(b"target-\xff"))
    deep = tree / "deep"
    for number in range(4):
        deep = deep / (str(number) * 120)
        deep.mkdir()
    (deep / "leaf").hardlink_to(_file(tree / "leaf", "leaf"))


def second(tree: Path) -> None:
    """Removed, made anew, changed into another kind, linked to from a later layer, other attributes."""
    (tree / "gone").unlink()
    (tree / os.fsdecode(b"raw-\xff\xfe\x80")).unlink()
    for name in ("again", "opaque", "swap/was-dir", "swap/also-dir"):
        shutil.rmtree(tree / name)
    (tree / "again").mkdir()
    (tree / "again/new").touch()
    (tree / "opaque/sub").mkdir(parents=True)
    (tree / "opaque/sub/new").touch()
    (tree / "swap/was-dir").write_text("a file now")
    (tree / "swap/also-dir").symlink_to("real")
    for name in ("was-file", "was-link"):
        (tree / "swap" / name).unlink()
        (tree / "swap" / name).mkdir()
        (tree / "swap" / name / "in").touch()
    (tree / "hard-d").hardlink_to(tree / "hard-a")
    os.setxattr(tree / "attributes", "user.bytes", b"changed")
    os.removexattr(tree / "attributes", "user.long")
    (tree / "capable").rename(tree / "moved")
    (tree / "setuid").write_text("written anew")
    (tree / "setuid").chmod(0o4711)
    (tree / "character").unlink()
    (tree / "character").write_text("a file now")


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
