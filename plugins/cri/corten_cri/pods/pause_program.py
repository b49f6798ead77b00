"""The pause program: the first process of a pod's process namespace, which only waits, and lets the kernel reap.

An ELF file of some 160 bytes, so that a pod needs no image for it. It ignores SIGCHLD, so that children that end are
gone at once (sigaction(2), notes on SIG_IGN), and then waits for ever; it is ended with SIGKILL.
"""

import os
import platform
import struct
from pathlib import Path

NAME = "pause"
_BASE = 0x400000
_HEADERS = 64 + 56
_X86_64 = bytes.fromhex(
    "b80d000000"  # mov eax, 13 (rt_sigaction)
    "bf11000000"  # mov edi, 17 (SIGCHLD)
    "488d3517000000"  # lea rsi, [rip + 0x17] (the action, below)
    "31d2"  # xor edx, edx
    "41ba08000000"  # mov r10d, 8 (bytes of a signal set)
    "0f05"  # syscall
    "b822000000"  # mov eax, 34 (pause)
    "0f05"  # syscall
    "ebf7"  # jmp to the mov above
    "00000000"
    "0100000000000000"  # SIG_IGN, and no flags, restorer or mask
    "000000000000000000000000000000000000000000000000"
)
_CODE = {"x86_64": (62, _X86_64)}


def program() -> bytes | None:
    """The file for this machine; None for a processor that it was not written for."""
    if (found := _CODE.get(platform.machine())) is None:
        return None
    machine, code = found
    size = _HEADERS + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + code


def ensure_root(root: Path) -> bool:
    """Have the root file system with the program and the mount points it needs; False if there is no program. Blocks.

    All pods share it: it is mounted read-only.
    """
    data = program()
    if data is None:
        return False
    for folder in ("", "proc", "dev", "sys", "etc"):
        os.makedirs(root / folder, 0o755, exist_ok=True)
    target = root / NAME
    if not target.exists() or target.read_bytes() != data:
        made = root / f".{NAME}.{os.getpid()}"
        made.write_bytes(data)
        made.chmod(0o555)
        os.replace(made, target)
    return True
