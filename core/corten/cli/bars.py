"""Progress bars on standard error, for as long as there is a terminal to show them on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corten.client.progress import Progress


@contextmanager
def watched() -> Iterator["Progress"]:
    """A progress callback; one bar for each item, or nothing at all where nobody watches."""
    from corten.client.progress import ignored

    if not sys.stderr.isatty():
        yield ignored
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Task, TaskID, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Speed(TransferSpeedColumn):
        """Nothing where none is known."""

        def render(self, task: Task) -> Text:
            return super().render(task) if task.speed else Text()

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), Speed())
    bars = Bars(*columns, console=Console(stderr=True))
    known: dict[str, TaskID] = {}

    def show(item: str, done: int, total: int) -> None:
        if not known:  # not a byte to the terminal before there is something to show
            bars.start()
        if item not in known:
            known[item] = bars.add_task(_short(item), total=total or None)
        bars.update(known[item], completed=done, total=total or None)

    try:
        yield show
    finally:
        if known:
            bars.stop()


def _short(item: str) -> str:
    what, _, digest = item.partition(" ")
    return f"{what:8} {digest.removeprefix('sha256:')[:12]}"
