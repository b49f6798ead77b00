"""`corten cp`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from corten.errors import FailedPrecondition, mapped

from ..reporting import say
from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.mounts import Mount

Place = tuple[int, "list[Mount]"]


@click.command()
@click.option("-a", "--archive", is_flag=True, help="Keep owners by their numbers.")
@click.argument("source")
@click.argument("target")
@click.pass_obj
def cp(session: Session, source: str, target: str, archive: bool) -> None:
    """Copy SOURCE to TARGET; one of them is CONTAINER:PATH, the other a path here.

    A directory is copied with all in it, into TARGET if that is a directory. Links stay links. Copies belong to root in
    a container, and to you here. The container may run or not.
    """
    inside, outside = _container(source), _container(target)
    if bool(inside) == bool(outside):
        raise click.UsageError("one of SOURCE and TARGET must be CONTAINER:PATH (a path here with a colon: ./a:b)")
    session.run(lambda client: _cp(client, inside, outside, source, target, archive))


def _container(text: str) -> tuple[str, str] | None:
    """`web:/etc/hosts` as its parts; None for a path here."""
    id, colon, path = text.partition(":")
    return (id, path or "/") if colon and id and "/" not in id else None


async def _cp(
    client: Client,
    inside: tuple[str, str] | None,
    outside: tuple[str, str] | None,
    source: str,
    target: str,
    archive: bool,
) -> None:
    from corten.client.copying import place

    if inside:
        where = await place(client, inside[0])
        await asyncio.to_thread(_copy, source, where, inside[1], None, target, archive)
    elif outside:
        where = await place(client, outside[0])
        await asyncio.to_thread(_copy, source, None, source, where, outside[1], archive)


def _copy(name_of_source: str, source: Place | None, path: str, target: Place | None, to: str, archive: bool) -> None:
    if sys.platform == "win32":
        raise FailedPrecondition("cp: it works on Linux only")
    else:  # noqa: RET506 (so that the type checker knows what exists there)
        from corten.linux.copying import Copy, destination, inside

        with ExitStack() as stack, mapped(f"copy {name_of_source}"):
            parent, name = inside(_root(stack, source), _absolute(source, path))
            stack.callback(os.close, parent)
            folder, new = destination(_root(stack, target), _absolute(target, to), name)
            stack.callback(os.close, folder)
            owner = None if archive else (0, 0) if target else (os.geteuid(), os.getegid())
            Copy(owner, _left_out).tree(parent, name, folder, new)


def _left_out(name: str) -> None:
    say(f"{name} is no file, directory or link: it is left out")


def _absolute(place: Place | None, path: str) -> str:
    if place is not None:
        return path
    return os.path.abspath(path) + ("/" if path.endswith("/") else "")


def _root(stack: ExitStack, place: Place | None) -> int:
    """A descriptor of the container's root directory, or of this machine's."""
    from corten.client.copying import opened

    if place is not None:
        return stack.enter_context(opened(*place))
    root = os.open("/", getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    stack.callback(os.close, root)
    return root
