"""Options and steps that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from corten.errors import CortenError

from .. import exits, reporting

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.objects import Image
    from corten.registry.credentials import Lookup

F = TypeVar("F", bound=Callable[..., Any])


def snapshotter_option(command: F) -> F:
    """Adds `--snapshotter`."""
    return click.option(
        "--snapshotter",
        envvar="CONTAINERD_SNAPSHOTTER",
        default="overlayfs",
        show_default=True,
        show_envvar=True,
        help="Where the file trees are kept.",
    )(command)


def registry_options(command: F) -> F:
    """Adds what a pull needs: `--platform`, `--plain-http`, `--user`."""
    for option in (
        click.option("--platform", help="The platform wanted, e.g. linux/arm64; this machine's by default."),
        click.option(
            "--plain-http", is_flag=True, help="Speak http; with a registry on this machine that is done anyway."
        ),
        click.option("--login", help="USER[:PASSWORD] for the registry; docker's config file is looked at otherwise."),
    ):
        command = option(command)
    return command


def detach_keys_option(help: str) -> Callable[[F], F]:
    """Adds `--detach-keys`."""
    return click.option("--detach-keys", default="ctrl-p,ctrl-q", show_default=True, help=help)


class ProcessCommand(click.Command):
    """Exits as a process does: all that goes wrong before there is one, the command line too, is 125, 126 or 127."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _not_run():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _not_run():
                return super().invoke(ctx)
        except CortenError as error:
            return reporting.report(error, exits.of_start(error))


@contextmanager
def _not_run() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.exit_code = exits.NOT_RUN  # type: ignore[misc]
        raise


async def pull_with_bars(
    client: Client,
    name: str,
    *,
    platform: str | None,
    plain_http: bool,
    login: str | None,
    snapshotter: str,
    referrers: Sequence[str] | None = None,
    all_platforms: bool = False,
) -> Image:
    """Pull as the options say, with progress bars if somebody watches."""
    from corten import platforms
    from corten.client.pull import PullOptions, pull

    from ..bars import watched

    options = PullOptions(
        platform=platforms.parse(platform) if platform else None,
        all_platforms=all_platforms,
        snapshotter=snapshotter,
        plain_http=True if plain_http else None,
        credentials=credentials(login),
        warn=reporting.say,
        referrers=referrers,
    )
    with watched() as progress:
        return await pull(client, name, options, progress)


def credentials(login: str | None) -> Lookup:
    """Those of `--login USER[:PASSWORD]`, the password asked for if need be; else those of docker's config file."""
    from corten.registry.credentials import Credentials
    from corten.registry.docker_config import docker_credentials

    if not login:
        return docker_credentials()
    user, colon, password = login.partition(":")
    given = Credentials(user, password if colon else click.prompt("Password", hide_input=True, err=True))
    return lambda _: given


def on_terminal() -> bool:
    """Whether a person types."""
    return sys.stdin is not None and sys.stdin.isatty()
