"""Prints what shims cost: `PYTHONPATH=tests python -m runtimes.memory [CONTAINERS]`. Needs root and runc.

Each shim has served an exec and statistics before it is measured; PSS counts pages shared with the zygote by share.
"""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from corten.contracts.runtime import Stdio
from corten.zygote.client import Zygote
from runtimes.world import NAMESPACE, World, folder, opened, process, shim_processes


def smaps(pid: int) -> dict[str, int]:
    """KiB by kind, of /proc/PID/smaps_rollup."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {line[0].rstrip(":"): int(line[1]) for line in lines}


async def measure(world: World, number: int) -> None:
    """Start, exercise, measure, and take away `number` containers."""
    runtime = await world.runtime()
    tasks, creating, starting, deleting = [], [], [], []
    for index in range(number):
        begin = time.perf_counter()
        task = await runtime.create(NAMESPACE, f"m{index}", world.options("/bin/sleep", "600"))
        created = time.perf_counter()
        await task.start()
        creating.append(created - begin)
        starting.append(time.perf_counter() - created)
        await task.exec("e", process(["/bin/true"]), Stdio())
        await task.start("e")
        await task.wait("e")
        await task.delete("e")
        await task.stats()
        tasks.append(task)
    records = [json.loads(path.read_text()) for path in world.tasks.glob("*/bootstrap.json")]
    await asyncio.sleep(1)  # workers have parked
    shims = [smaps(record["corten"]["pid"]) for record in records]
    workers = [pid for record in records for pid in shim_processes(record["corten"]["pid"])[1:]]
    zygote = smaps(world.zygote.pid)
    for task in tasks:
        await task.kill(9)
        await task.wait()
        begin = time.perf_counter()
        await task.delete()
        deleting.append(time.perf_counter() - begin)
    await runtime.close()
    for kind in ("Pss", "Private_Dirty", "Shared_Clean", "Pss_Anon"):
        print(f"shim {kind:14} median {statistics.median(shim[kind] for shim in shims):8.0f} KiB")
    print(f"{len(workers)} workers have not parked")
    print(f"zygote Pss {zygote['Pss']} KiB, Rss {zygote['Rss']} KiB")
    for name, times in (("create", creating), ("start", starting), ("delete", deleting)):
        print(f"{name:7} median {statistics.median(times) * 1000:6.1f} ms")


async def main(number: int) -> None:
    """The whole measurement on folders of its own."""
    zygote = Zygote.launch(["corten_runtimes.shim.warm"])
    try:
        with folder() as path:
            async with opened(path, zygote) as world:
                await measure(world, number)
    finally:
        zygote.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
