"""Options of `corten run` for what a container may have and do beyond the common ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--device", multiple=True, help="A device, or a folder of them: HOST[:CONTAINER[:rwm]]."),
    click.option("--tmpfs", multiple=True, help="A file system in memory: PATH[:SIZE], e.g. /scratch:64m."),
    click.option("--shm-size", help="The size of /dev/shm, e.g. 256m."),
    click.option("--memory-swap", help="The most memory and swap together, e.g. 1g; -1 for any amount of swap."),
    click.option("--cpuset-cpus", default="", help="The processors it may use, e.g. 0-1,3."),
    click.option("--ulimit", multiple=True, help="A limit of its processes: NAME=SOFT[:HARD], e.g. nofile=1024:4096."),
    click.option(
        "--group-add", multiple=True, type=click.IntRange(0, 2**31 - 1), help="The number of a further group."
    ),
    click.option("--sysctl", multiple=True, help="KEY=value of its namespaces, e.g. net.ipv4.ip_forward=1."),
    click.option("--seccomp", help="Which system calls it may make: default, unconfined (the default), or a file."),
    click.option("--apparmor", help="The AppArmor profile that confines it."),
)


def spec_options(command: F) -> F:
    """Adds them all."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), command)
