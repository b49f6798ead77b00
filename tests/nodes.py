"""What an end-to-end test is given: where a daemon runs."""

from dataclasses import dataclass
from pathlib import Path

from peers import Ctr


@dataclass(frozen=True)
class Node:
    """A running daemon with its folder; `image` is the reference of the five-layer image in a real registry."""

    address: str
    folder: Path
    image: str
    pid: int

    def ctr(self, namespace: str) -> Ctr:
        return Ctr(self.address, namespace)
