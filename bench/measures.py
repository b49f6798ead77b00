"""What is measured: each function takes both sides and returns figures by side, taken in turn (A B A B …)."""

import signal
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sides import BIN, Side, pss

Figures = dict[str, float]


def timed(argv: list[str]) -> float:
    """Seconds a command takes; it must succeed."""
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def medians(samples: dict[str, list[float]]) -> Figures:
    return {name: statistics.median(values) for name, values in samples.items()}


def run_rm(both: list[Side], image: str, runs: int) -> Figures:
    """`ctr run --rm IMAGE true`, median ms."""
    samples: dict[str, list[float]] = {side.name: [] for side in both}
    for n in range(runs + 2):
        for side in both:
            took = timed(side.ctr("run", "--rm", image, f"r{n}", "true"))
            if n >= 2:
                samples[side.name].append(took * 1000)
    return medians(samples)


def task_exec(both: list[Side], image: str, runs: int) -> Figures:
    """`ctr task exec`, median ms."""
    samples: dict[str, list[float]] = {side.name: [] for side in both}
    for side in both:
        side.run("run", "-d", image, "host", "sleep", "100000")
    for n in range(runs + 2):
        for side in both:
            took = timed(side.ctr("tasks", "exec", "--exec-id", f"e{n}", "host", "true"))
            if n >= 2:
                samples[side.name].append(took * 1000)
    for side in both:
        remove(side, "host")
    return medians(samples)


def remove(side: Side, *names: str) -> None:
    for name in names:
        subprocess.run(side.ctr("tasks", "rm", "-f", name), capture_output=True, check=False)
        side.run("containers", "rm", name)


SETTLED = 5.0
"""Seconds after the last call, on both sides: what is measured is what a process keeps, not what it works with."""


def memory(both: list[Side], image: str, containers: int) -> dict[str, Figures]:
    """PSS with so many containers, each after an exec and a metrics call: per shim and daemon in MiB, and idle."""
    found: dict[str, Figures] = {"shim": {}, "daemon": {}, "idle": {}, "all": {}}
    for side in both:
        found["idle"][side.name] = sum(map(pss, side.pids()["daemon"])) / 1024
        names = [f"m{n}" for n in range(containers)]
        for name in names:
            side.run("run", "-d", image, name, "sleep", "100000")
            side.run("tasks", "exec", "--exec-id", "x", name, "true")
            side.run("tasks", "metrics", name)
        time.sleep(SETTLED)
        pids = side.pids()
        shims, daemon = sum(map(pss, pids["shims"])) / 1024, sum(map(pss, pids["daemon"])) / 1024
        found["shim"][side.name] = shims / containers
        found["daemon"][side.name] = daemon
        found["all"][side.name] = shims + daemon
        remove(side, *names)
    return found


def recovery(both: list[Side], image: str, containers: int) -> dict[str, Figures]:
    """Seconds to start so many, after SIGKILL to the first answer and until all run again, and to remove them."""
    found: dict[str, Figures] = {"started": {}, "answer": {}, "known": {}, "removed": {}}
    for side in both:
        names = [f"k{n}" for n in range(containers)]
        began = time.perf_counter()
        for name in names:
            side.run("run", "-d", image, name, "sleep", "100000")
        found["started"][side.name] = time.perf_counter() - began
        side.end(signal.SIGKILL)
        began = time.perf_counter()
        found["answer"][side.name] = side.start()
        while side.run("tasks", "ls").count("RUNNING") < containers:
            if time.perf_counter() - began > 60:
                raise RuntimeError(f"{side.name}: containers lost")
        found["known"][side.name] = time.perf_counter() - began
        began = time.perf_counter()
        remove(side, *names)
        found["removed"][side.name] = time.perf_counter() - began
    return found


def pull(both: list[Side], image: str, runs: int, *flags: str) -> Figures:
    """`ctr images pull`, best of `runs`, seconds; all removed between.

    ctr 1.6, and 2.x with `--local`, fetches itself and has the daemon unpack; 2.x asks the daemon for all.
    """
    best: Figures = {}
    for _ in range(runs):
        for side in both:
            took = timed(side.ctr("images", "pull", "--plain-http", *flags, image))
            best[side.name] = min(took, best.get(side.name, took))
            side.run("images", "rm", "--sync", image)
    return best


def corten_pull(corten: Side, image: str, runs: int) -> float:
    """`corten pull`, best of `runs`, seconds."""
    argv = [str(BIN / "corten"), "--address", corten.address, "--namespace", "bench", "pull", "--plain-http", image]
    took = []
    for _ in range(runs):
        took.append(timed(argv))
        corten.run("images", "rm", "--sync", image)
    return min(took)


def peaks(both: list[Side], image: str) -> Figures:
    """The most memory (PSS) that a daemon and all its helpers have during a pull, MiB; looked at every 50 ms."""
    return {side.name: _peak(side, image) / 1024 for side in both}


def _peak(side: Side, image: str) -> int:
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.05):
            most = max(most, sum(map(pss, side.family())))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        side.run("images", "pull", "--plain-http", image)
    finally:
        done.set()
        watching.join()
    side.run("images", "rm", "--sync", image)
    return most


def life_cycles(both: list[Side], image: str, each: int) -> Figures:
    """Whole life cycles (`ctr run --rm … true`) by four clients at once, per second."""
    rates: Figures = {}

    def client(side: Side, number: int) -> None:
        for n in range(each):
            timed(side.ctr("run", "--rm", image, f"l{number}-{n}", "true"))

    for side in both:
        began = time.perf_counter()
        with ThreadPoolExecutor(4) as clients:
            list(clients.map(lambda number, side=side: client(side, number), range(4)))
        rates[side.name] = 4 * each / (time.perf_counter() - began)
    return rates


def boot(both: list[Side], runs: int) -> Figures:
    """Start to first answer, median seconds; a `ctr version` is part of it on both sides."""
    samples: dict[str, list[float]] = {side.name: [] for side in both}
    for _ in range(runs):
        for side in both:
            side.end()
            samples[side.name].append(side.start())
    return medians(samples)


def output(both: list[Side], image: str, megabytes: int, runs: int) -> Figures:
    """So many MiB of a container's stdout through `ctr run`, median seconds."""
    samples: dict[str, list[float]] = {side.name: [] for side in both}
    script = f"exec cat /big/{megabytes}"
    for n in range(runs):
        for side in both:
            mount = f"type=bind,src={big_file(side.folder, megabytes).parent},dst=/big,options=rbind:ro"
            samples[side.name].append(
                timed(side.ctr("run", "--rm", "--mount", mount, image, f"o{n}", "sh", "-c", script))
            )
    return medians(samples)


def big_file(folder: Path, megabytes: int) -> Path:
    """A sparse file of that size."""
    path = folder / "big" / str(megabytes)
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        with path.open("wb") as stream:
            stream.truncate(megabytes << 20)
    return path
