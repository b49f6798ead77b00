"""How daemon, zygote and children talk: JSON packets with descriptors on the control socket, frames on private ones.

Control (SOCK_SEQPACKET): one request packet, one reply packet. A request to fork carries the child's end of a private
stream socket as first descriptor, then the caller's. On the private socket the daemon sends one frame with the payload,
the child answers with one frame: a gRPC status code (0: fine) and the result or the error's message.
A child gets its payload over its own socket so that it may be of any size, and so that a child whose zygote died while
it answered sees EOF instead of doing its work twice.
"""

import json
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, Protocol


class Stream(Protocol):
    """What a frame needs of a socket."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...


PACKET_MAX = 64 * 1024
FDS_MAX = 250
"""The kernel takes 253 descriptors in a packet (SCM_MAX_FD, unix(7))."""
_HEADER = struct.Struct("!IQ")


def send_packet(control: socket.socket, packet: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one JSON packet with descriptors."""
    data = json.dumps(packet).encode()
    if fds and sys.platform != "win32":
        socket.send_fds(control, [data], list(fds))
    else:
        control.send(data)


def receive_packet(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next packet and its descriptors (close-on-exec); None at the end of the connection."""
    if sys.platform == "win32":
        return None
    data, fds, _, _ = socket.recv_fds(control, PACKET_MAX, FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    return (json.loads(data), fds) if data else None


def send_frame(private: Stream, code: int, body: bytes) -> None:
    """Send one frame."""
    private.sendall(_HEADER.pack(code, len(body)) + body)


def receive_frame(private: Stream) -> tuple[int, bytes] | None:
    """The next frame as (code, body); None if the other side closed before all of it came."""
    header = _exactly(private, _HEADER.size)
    if header is None:
        return None
    code, length = _HEADER.unpack(header)
    body = _exactly(private, length)
    return None if body is None else (code, body)


def _exactly(private: Stream, length: int) -> bytes | None:
    data = private.recv(min(length, PACKET_MAX)) if length else b""
    if len(data) == length:
        return data
    parts, done = [data], len(data)
    while done < length and parts[-1]:
        parts.append(private.recv(min(length - done, 1 << 20)))
        done += len(parts[-1])
    return b"".join(parts) if done == length else None
