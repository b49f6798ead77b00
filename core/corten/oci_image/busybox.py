"""A small image around a static busybox: `python -m corten.oci_image.busybox --output FILE`."""

import argparse
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from corten import platforms, references
from corten.errors import CortenError, InvalidArgument

from .build import File, Image, build, directory, layer, symlink, write_archive

BINARY = Path("/bin/busybox")
NAME = "corten.local/busybox:latest"
_FOLDERS = ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var")
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
_PT_INTERP = 3


def image(binary: bytes, applets: Sequence[str], name: str = NAME) -> Image:
    """busybox, links to it for its applets, and the files that programs look for. Two layers.

    Raises InvalidArgument if the program is not a static ELF executable.
    """
    check_static(binary)
    base = [*(directory(folder) for folder in _FOLDERS), directory("tmp", 0o1777)]
    base += [File("etc/passwd", _PASSWD), File("etc/group", _GROUP)]
    programs = [File("bin/busybox", binary, 0o755)]
    programs += [symlink(f"bin/{applet}", "busybox") for applet in applets if applet != "busybox"]
    execution = {"Env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"], "Cmd": ["sh"], "WorkingDir": "/"}
    return build(references.normalised(name), [layer(base), layer(programs)], platforms.host(), execution)


def check_static(binary: bytes) -> None:
    """Raises InvalidArgument, with the remedy, for a program that would need more files."""
    if is_dynamic(binary):
        raise InvalidArgument("busybox: it needs shared libraries (install Debian's package busybox-static)")


def is_dynamic(binary: bytes) -> bool:
    """Whether a 64-bit little-endian ELF executable asks for an interpreter (elf(5), PT_INTERP)."""
    if binary[:6] != b"\x7fELF\x02\x01":
        raise InvalidArgument("busybox: it is not a 64-bit ELF executable")
    try:
        (offset,) = struct.unpack_from("<Q", binary, 32)
        size, count = struct.unpack_from("<HH", binary, 54)
        kinds = [struct.unpack_from("<I", binary, offset + number * size)[0] for number in range(count)]
    except struct.error as error:
        raise InvalidArgument(f"busybox: its ELF header is damaged: {error}") from error
    return _PT_INTERP in kinds


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the archive; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make a small image out of a static busybox, as an OCI archive.")
    parser.add_argument("--busybox", type=Path, default=BINARY, help="the program (default: %(default)s)")
    parser.add_argument("--name", default=NAME, help="the image's name (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="the tar archive to write")
    options = parser.parse_args(arguments)
    try:
        binary = options.busybox.read_bytes()
        check_static(binary)
        listing = subprocess.run([options.busybox, "--list"], check=True, capture_output=True, text=True)
        made = image(binary, listing.stdout.split(), options.name)
        with options.output.open("wb") as file:
            write_archive(made, file)
    except (OSError, subprocess.CalledProcessError, CortenError) as error:
        print(f"cannot make the image: {error}", file=sys.stderr)
        return 1
    print(f"{made.name} ({made.target.digest}) in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
