"""`corten run`."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import click

from corten.errors import AlreadyExists, NotFound

from ..session import Session
from .common import (
    ProcessCommand,
    detach_keys_option,
    on_terminal,
    pull_with_bars,
    registry_options,
    snapshotter_option,
)
from .spec_options import spec_options

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.run import RunOptions
    from corten.contracts.objects import Container
NO_LOG = "none"


@click.command(
    cls=ProcessCommand,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    epilog="Exits as the process in the container does; 125 if it could not be started, 126 or 127 for a command that "
    "cannot be executed or does not exist.",
)
@click.option("--rm", is_flag=True, help="Remove the container when it has ended.")
@click.option("-d", "--detach", is_flag=True, help="Start it, print its name, and do not wait.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-i", "--interactive", is_flag=True, help="Connect standard input.")
@click.option("--name", help="The container's name; made up by default.")
@click.option("-e", "--env", multiple=True, help="KEY=value sets a variable, KEY= empties it; KEY takes it from here.")
@click.option("--env-file", type=click.File(), multiple=True, help="A file of KEY=value lines.")
@click.option("--mount", multiple=True, help="E.g. type=bind,src=/data,dst=/data,options=rbind:ro")
@click.option("-w", "--workdir", default="", help="The working directory in the container.")
@click.option("-u", "--user", default="", help="NAME, UID, NAME:GROUP or UID:GID.")
@click.option("--entrypoint", help="Replaces the image's entrypoint; empty for none.")
@click.option("--hostname", default="", help="The name that the container sees as its host's.")
@click.option("--read-only", is_flag=True, help="Nothing can write to the image's files.")
@click.option("-m", "--memory", help="The most memory, e.g. 512m.")
@click.option("--cpus", type=float, default=0.0, help="The most processor time, e.g. 1.5.")
@click.option("--cpu-shares", type=int, default=0, help="The share when processors are scarce; 1024 by default.")
@click.option("--pids-limit", type=int, default=0, help="The most processes.")
@click.option("--cap-add", multiple=True, help="A capability to add, e.g. NET_ADMIN, or ALL.")
@click.option("--cap-drop", multiple=True, help="A capability to take away, or ALL.")
@click.option("--privileged", is_flag=True, help="All capabilities and devices, nothing masked: no sandbox.")
@click.option("--allow-new-privs", is_flag=True, help="Let set-uid programs gain privileges.")
@spec_options
@click.option("--net-host", is_flag=True, help="Use the host's network.")
@click.option("--restart", default="no", show_default=True, help="no, always, unless-stopped or on-failure[:TIMES].")
@click.option(
    "--log", help="With -d: the file for its output. With -d or -t: none, or by default one for `corten logs`."
)
@click.option("--label", multiple=True, help="KEY=value, on the container.")
@click.option("--annotation", multiple=True, help="KEY=value, in the OCI spec.")
@click.option("--cgroup", default="", help="The cgroup path; /NAMESPACE/NAME by default.")
@click.option("--runtime", default="io.containerd.runc.v2", show_default=True, help="What starts the container.")
@snapshotter_option
@click.option(
    "--pull",
    type=click.Choice(["missing", "always", "never"]),
    default="missing",
    show_default=True,
    help="When to fetch the image.",
)
@registry_options
@detach_keys_option("With -t: leave it running; empty for none.")
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def run(session: Session, /, **given: Any) -> int:
    """Make a container of IMAGE and run COMMAND in it, or what the image names.

    Without --rm the container stays when it has ended: `corten start` runs it again, `corten rm` removes it.
    """
    if given["rm"] and given["detach"]:
        raise click.UsageError("--rm and --detach exclude each other: nobody would be there to remove the container")
    if given["log"] not in (None, NO_LOG) and not given["detach"]:
        raise click.UsageError("--log needs --detach: else the output comes here")
    if given["restart"] != "no" and not given["detach"]:
        raise click.UsageError("--restart needs --detach: the daemon starts it again, whoever waits here")
    if given["tty"] and not given["detach"] and not on_terminal():
        raise click.UsageError("--tty needs a terminal on standard input (leave out -t, or use --detach)")
    return session.run(lambda client: _run(client, given))


async def _run(client: Client, given: dict[str, Any]) -> int:
    from corten.client.run import create, remove

    from ..bars import watched
    from ..foreground import Foreground, start_detached

    foreground = Foreground(given["tty"], given["interactive"], given["detach_keys"])
    await _have_image(client, given)
    options = _options(given, await _daemons_labels(client, given))
    with watched() as progress:
        container = await _create(client, options, create, progress)
    try:
        if given["detach"]:
            await start_detached(client, container, tty=given["tty"], interactive=given["interactive"])
            click.echo(container.id)
            return 0
        code = await foreground.run(client, container)
    except BaseException:
        if not foreground.started:  # what runs is left alone when only the connection to it is lost
            await asyncio.shield(remove(client, container.id, force=True))
        raise
    if given["rm"] and not foreground.detached:
        await asyncio.shield(remove(client, container.id, force=True))
    return code


async def _create(client: Client, options: RunOptions, create: Any, progress: Any) -> Container:
    try:
        made: Container = await create(client, options, progress)
    except AlreadyExists as error:
        raise AlreadyExists(
            f"container {options.id!r}: there is one of that name (choose another, or `corten rm {options.id}`)"
        ) from error
    return made


async def _have_image(client: Client, given: dict[str, Any]) -> None:
    from corten import platforms
    from corten.client.image import find, resolve

    wanted = platforms.parse(given["platform"]) if given["platform"] else None
    if given["pull"] != "always":
        try:
            image = await find(client, given["image"])
            if wanted:
                await resolve(client, image, wanted)
            return given.update(image=image.name)
        except NotFound:
            if given["pull"] == "never":
                raise
    keys = ("platform", "plain_http", "login", "snapshotter")
    image = await pull_with_bars(client, given["image"], **{key: given[key] for key in keys})
    return given.update(image=image.name)


async def _daemons_labels(client: Client, given: dict[str, Any]) -> dict[str, str]:
    """Where the log is, and when to start it again."""
    from corten import identifiers
    from corten.client import logs, restarts

    given["name"] = given["name"] or made_up_name(given["image"])
    identifiers.validate(given["name"], "container name")
    if not await _keeps_log(client, given):
        return restarts.labels(given["restart"], "")
    path = logs.path(given["log"]) if given["log"] else logs.default_path(client.namespace, given["name"])
    if given["restart"] == "no":
        return {logs.LOG_LABEL: path}
    uri = logs.uri(path, joinable=await client.attachments.offered())
    return {logs.LOG_LABEL: path, **restarts.labels(given["restart"], uri)}


async def _keeps_log(client: Client, given: dict[str, Any]) -> bool:
    """What can be left running keeps one: in the background, and on a terminal where the daemon knows how."""
    if given["log"] == NO_LOG:
        return False
    if given["detach"]:
        return True
    return given["tty"] and not given["rm"] and await client.attachments.offered()


def _options(given: dict[str, Any], labels: dict[str, str]) -> RunOptions:
    from corten import platforms
    from corten.client.run import RunOptions
    from corten.contracts.objects import RuntimeInfo

    from ..specs import spec_of
    from ..words import pairs

    return RunOptions(
        image=given["image"],
        id=given["name"],
        spec=spec_of(given),
        user=given["user"],
        groups=given["group_add"],
        snapshotter=given["snapshotter"],
        runtime=RuntimeInfo(given["runtime"]),
        labels={**pairs(given["label"], "label"), **labels},
        platform=platforms.parse(given["platform"]) if given["platform"] else None,
    )


def made_up_name(image: str) -> str:
    """From the image's last part, so that a list of containers can be read."""
    base = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    kept = "".join(char for char in base if char.isascii() and char.isalnum())[:40]
    return f"{kept or 'container'}-{secrets.token_hex(3)}"
