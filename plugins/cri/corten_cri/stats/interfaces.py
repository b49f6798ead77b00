"""Counters of network interfaces, as the kernel prints them. Pure."""

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Interface:
    """Bytes, packets, errors and dropped packets."""

    name: str
    rx: tuple[int, int, int, int]
    tx: tuple[int, int, int, int]


def parse(text: str) -> list[Interface]:
    """The table of `/proc/PID/net/dev`, the loopback interface left out."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = [int(word) for word in rest.split()]
        if (name := name.strip()) != "lo" and len(fields) >= 12:
            found.append(Interface(name, (*fields[0:4],), (*fields[8:12],)))  # type: ignore[arg-type]
    return found
