"""Corten and a containerd side by side in one sitting: same client, same registry, interleaved.

Usage: compare.py [--quick] [--only NAME[,NAME…]] [--folder DIR]. Prints a Markdown table with the budgets of the design
beside it. The stores lie on a memory-backed file system, or in `--folder`; the registry's data always on the former.
The peer is Debian's containerd 1.6, whose pulls are its client's, or
another one in the folder `CORTEN_PEERS` (see `sides`): from 2.0 on the daemon pulls on both sides.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import image as images
import measures
from peers import registry
from sides import TMPFS, Side, file_system, peer_version, sides

IMAGES: dict[str, Callable[[Path, str, bool], str]] = {
    "40,000 files in 6 layers": lambda folder, host, quick: images.push_big(folder, host, *_big(quick)),
    "one layer of 1 GiB": lambda folder, host, quick: images.push_one(folder, host, _one(quick)),
    "40,000 files of /usr's bytes in 6 layers": lambda folder, host, quick: images.push_big(
        folder, host, *_big(quick), images.found
    ),
    "one layer of 1 GiB of /usr's bytes": lambda folder, host, quick: images.push_one(
        folder, host, _one(quick), images.found
    ),
}
"""What is pulled, and how it is pushed to the registry; half of the first two is random: nothing makes that smaller."""


def _big(quick: bool) -> tuple[int, int]:
    """Files and MiB."""
    return (4000, 80) if quick else (40000, 800)


def _one(quick: bool) -> int:
    """MiB."""
    return 64 if quick else 1024


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    unit: str
    corten: float
    peer: float
    budget: str


def row(what: str, unit: str, figures: measures.Figures, budget: str) -> Row:
    return Row(what, unit, figures["corten"], figures["containerd"], budget)


@dataclass(frozen=True)
class Sitting:
    """What a measurement is given."""

    both: list[Side]
    small: str
    pulled: dict[str, str]
    """What the images of `IMAGES` are called in the registry; empty if no pull is measured."""
    quick: bool

    def pick(self, quick: int, full: int) -> int:
        return quick if self.quick else full


def run_rm(s: Sitting) -> list[Row]:
    figures = measures.run_rm(s.both, s.small, s.pick(7, 30))
    return [row("`ctr run --rm IMAGE true`, median", "ms", figures, "≤ 0.7 ×")]


def task_exec(s: Sitting) -> list[Row]:
    return [row("`ctr task exec`, median", "ms", measures.task_exec(s.both, s.small, s.pick(7, 30)), "≤ 0.8 ×")]


def memory(s: Sitting) -> list[Row]:
    n = s.pick(10, 40)
    found = measures.memory(s.both, s.small, n)
    return [
        row("daemon PSS idle (zygote included)", "MiB", found["idle"], "≤ 60 MiB"),
        row(f"daemon PSS with {n} containers", "MiB", found["daemon"], "≤ 70 MiB"),
        row(f"shim PSS per container, {n} containers", "MiB", found["shim"], "≤ 1.5 MiB"),
        row(f"daemon and shims together, {n} containers", "MiB", found["all"], "≤ 0.6 ×"),
    ]


def pull(s: Sitting) -> list[Row]:
    runs = s.pick(1, 3)
    return [line for what, image in s.pulled.items() for line in pulls(s, image, what, runs)]


def pulls(s: Sitting, image: str, what: str, runs: int) -> list[Row]:
    """The client's pull, and the daemon's: that of `ctr` where it knows transfers, else `corten pull`."""
    if peer_version() >= (2, 0):
        by_client = measures.pull(s.both, image, runs, "--local")
        by_daemon = measures.pull(s.both, image, runs)
        word = "by the daemons"
    else:
        by_client = measures.pull(s.both, image, runs)
        by_daemon = {"corten": measures.corten_pull(s.both[0], image, runs), "containerd": by_client["containerd"]}
        word = "by `corten pull` against containerd's `ctr`"
    return [
        row(f"pull and unpack, {what}, fetched by `ctr`", "s", by_client, "≤ 0.6 ×"),
        row(f"the same {word}", "s", by_daemon, "≤ 0.3 ×"),
        row(
            "peak memory of the daemon's processes, the client fetching", "MiB", measures.peaks(s.both, image), "stated"
        ),
    ]


def life_cycles(s: Sitting) -> list[Row]:
    return [row("life cycles, 4 clients at once", "/s", measures.life_cycles(s.both, s.small, s.pick(5, 20)), "≥ 1 ×")]


def boot(s: Sitting) -> list[Row]:
    return [row("boot to first answer, median", "s", measures.boot(s.both, s.pick(3, 7)), "≤ 0.5 s")]


def recovery(s: Sitting) -> list[Row]:
    n = s.pick(10, 100)
    found = measures.recovery(s.both, s.small, n)
    return [
        row(f"SIGKILL with {n} running: first answer", "s", found["answer"], "≤ 0.5 s"),
        row(f"SIGKILL with {n} running: all known again", "s", found["known"], "≤ 0.8 s"),
    ]


def crowd(s: Sitting) -> list[Row]:
    n = s.pick(20, 200)
    found = measures.recovery(s.both, s.small, n)
    return [
        row(f"{n} containers: started, one after the other", "s", found["started"], "≤ 1 ×"),
        row(f"{n} containers: all known again after SIGKILL", "s", found["known"], "≤ 1 ×"),
        row(f"{n} containers: removed", "s", found["removed"], "≤ 1 ×"),
    ]


def output(s: Sitting) -> list[Row]:
    n = s.pick(128, 512)
    return [row(f"{n} MiB of stdout through a client", "s", measures.output(s.both, s.small, n, 3), "≤ 1 ×")]


MEASURES: dict[str, Callable[[Sitting], list[Row]]] = {
    "boot": boot,
    "run": run_rm,
    "exec": task_exec,
    "cycles": life_cycles,
    "output": output,
    "memory": memory,
    "recovery": recovery,
    "crowd": crowd,
    "pull": pull,
}


def show(rows: list[Row]) -> str:
    """The table."""
    version = ".".join(map(str, peer_version()))
    lines = [f"| what | Corten | containerd {version} | ratio | budget |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.what} | {r.corten:.4g} {r.unit} | {r.peer:.4g} {r.unit} | {r.corten / r.peer:.2f} | {r.budget} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs, a smaller image")
    parser.add_argument("--only", default=",".join(MEASURES), help="names, comma-separated")
    parser.add_argument("--folder", default=TMPFS, help="where the stores of both sides lie")
    args = parser.parse_args()
    names = args.only.split(",")
    folder = Path(tempfile.mkdtemp(prefix="cbr-", dir=TMPFS))
    try:
        with registry(folder / "registry") as host, sides(args.folder) as both:
            small = images.push_small(folder, host)
            wanted = IMAGES if "pull" in names else {}
            pulled = {what: push(folder, host, args.quick) for what, push in wanted.items()}
            for side in both:
                side.run("images", "pull", "--plain-http", small)
            sitting = Sitting(both, small, pulled, args.quick)
            rows = [row for name in names for row in measured(name, sitting)]
        print(f"Stores in {args.folder} ({file_system(args.folder)}).\n")
        print(show(rows))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measured(name: str, sitting: Sitting) -> list[Row]:
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    return MEASURES[name](sitting)


if __name__ == "__main__":
    main()
