"""Values as bytes: varints, texts, maps and typed blobs one after the other, with nothing between them.

A record is written and read in one fixed order of fields. A field added at the end of a record needs no migration:
reading past the end gives 0, the empty text or the empty map. Numbers are unsigned LEB128; texts and blobs are preceded
by their length in bytes.
"""

from collections.abc import Mapping

from corten.contracts.objects import AnyValue
from corten.errors import DataLoss


class Encoder:
    """Collects the fields of one record; `done` joins them."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def number(self, value: int) -> "Encoder":
        """A number from 0 up."""
        self._parts.append(varint(value))
        return self

    def blob(self, value: bytes) -> "Encoder":
        self._parts += (varint(len(value)), value)
        return self

    def text(self, value: str) -> "Encoder":
        return self.blob(value.encode())

    def mapping(self, value: Mapping[str, str]) -> "Encoder":
        """Sorted by key, so that equal maps give equal bytes."""
        self.number(len(value))
        for key in sorted(value):
            self.text(key).text(value[key])
        return self

    def any(self, value: AnyValue | None) -> "Encoder":
        """A typed blob, or that there is none."""
        self.number(value is not None)
        return self if value is None else self.text(value.type_url).blob(value.value)

    def anys(self, value: Mapping[str, AnyValue]) -> "Encoder":
        self.number(len(value))
        for key in sorted(value):
            self.text(key).any(value[key])
        return self

    def done(self) -> bytes:
        return b"".join(self._parts)


class Decoder:
    """Reads the fields in the order in which they were written. Raises DataLoss for bytes that are no record."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        data, at, shift, value = self._data, self._at, 0, 0
        if at < len(data) and data[at] < 0x80:  # nearly always; the collector reads everything there is
            self._at = at + 1
            return data[at]
        while at < len(data):
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        self._at = at
        return value

    def blob(self) -> bytes:
        size = self.number()
        start = self._at
        self._at = end = start + size
        if end > len(self._data):
            raise DataLoss(f"metadata record of {len(self._data)} bytes: a field ends at {end}; the store is damaged")
        return self._data[start:end]

    def text(self) -> str:
        return str(self.blob(), "utf-8", "replace")

    def mapping(self) -> dict[str, str]:
        return {self.text(): self.text() for _ in range(self.number())}

    def any(self) -> AnyValue | None:
        return AnyValue(self.text(), self.blob()) if self.number() else None

    def anys(self) -> dict[str, AnyValue]:
        return {self.text(): self.any() or AnyValue() for _ in range(self.number())}

    def rest(self) -> bytes:
        """What was not read yet."""
        return self._data[self._at :]


def varint(value: int) -> bytes:
    """Unsigned LEB128."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
