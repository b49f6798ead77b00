"""The keys that end an attachment and leave the container running, found in what a person types."""

from corten.errors import InvalidArgument

DEFAULT_KEYS = "ctrl-p,ctrl-q"


def parse(keys: str) -> bytes:
    """`ctrl-p,ctrl-q`, `a,b` … as bytes; empty for none. Raises InvalidArgument."""
    return bytes(_key(key.strip()) for key in keys.split(",")) if keys else b""


class DetachKeys:
    """Passes typed bytes on, but holds back a begun sequence until it is complete or broken off."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""
        self.pressed = False

    def __repr__(self) -> str:
        return f"DetachKeys({self._sequence!r}, pressed={self.pressed})"

    def pass_on(self, typed: bytes) -> bytes:
        """What of `typed` the container is to see; what follows a complete sequence is dropped."""
        if not self._sequence:
            return typed
        passed = bytearray()
        for byte in typed:
            self._held += bytes([byte])
            while not self._sequence.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._sequence:
                self.pressed = True
                break
        return bytes(passed)


def _key(key: str) -> int:
    name = key.lower()
    if name.startswith("ctrl-") and len(name) == 6 and "@" <= name[5].upper() <= "_":
        return ord(name[5].upper()) & 0x1F
    if len(key) == 1 and key.isascii():
        return ord(key)
    raise InvalidArgument(f"detach keys: {key!r} is neither a character nor ctrl-X (e.g. {DEFAULT_KEYS})")
