"""How often each scenario runs: reduced in `make test`, at the issue's count in `make soak`. The one table."""

import os

COUNTS: dict[str, tuple[int, int]] = {
    # scenario: (make test, make soak)
    "idle waits": (200, 1000),
    "idle subscribers": (200, 1000),
    "kill during pull": (2, 10),
    "kill during run": (2, 10),
    "cancel steps": (1, 10),
    "abandoned lives": (8, 100),
    "prepared beside cleanups": (300, 3000),
    "crowd of containers": (16, 200),
    "steps of a killed daemon": (3, 8),
    "group commit writers": (16, 64),
    "walk entries": (500, 20000),
    "exec probes": (120, 10_000),
    "execs in a shim": (320, 10_000),
    "pods with two containers": (4, 110),
    "kill during unpack": (4, 40),
    "random stacks of layers": (40, 2000),
    "short lived exits": (20, 240),
    "MiB through a client": (64, 512),
    "streamed execs": (40, 10000),
    "dropped attachments": (20, 1000),
    "plugins that come and go": (40, 4000),
    "daemons killed among pods": (3, 60),
}

SOAK = os.environ.get("CORTEN_SOAK") == "1"


def count(scenario: str) -> int:
    """The number of repetitions of a scenario of the table."""
    return COUNTS[scenario][SOAK]
