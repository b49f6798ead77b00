"""`corten`: the command's front door; options that all subcommands share, and what happens to errors."""

import os
import sys

import click

from corten import __version__

from .catalog import COMMANDS
from .lazy import LazyGroup

DEFAULT_ADDRESS = "/run/containerd/containerd.sock"
DEFAULT_NAMESPACE = "default"


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    package="corten.cli.commands",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": None},
    epilog="`corten COMMAND --help` says more about a command.",
)
@click.option(
    "-a",
    "--address",
    envvar="CONTAINERD_ADDRESS",
    default=DEFAULT_ADDRESS,
    show_default=True,
    show_envvar=True,
    help="Where the daemon listens: the path of its socket, or tcp://HOST:PORT.",
)
@click.option(
    "-n",
    "--namespace",
    envvar="CONTAINERD_NAMESPACE",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    show_envvar=True,
    help="The namespace to work in.",
)
@click.option("--debug", is_flag=True, help="Show where in Corten's code an error came from.")
@click.version_option(__version__, "-V", "--version", prog_name="corten", message="%(prog)s %(version)s")
@click.pass_context
def corten(ctx: click.Context, address: str, namespace: str, debug: bool) -> None:
    """Run containers with a daemon that speaks containerd's API: cortend, or containerd itself."""
    from .session import Session

    ctx.obj = Session(address, namespace, debug)


def main() -> None:
    """The entry point: exits with the codes of `corten.cli.exits`."""
    _have_streams()
    # gRPC's C core writes to standard error what the errors raised say better.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        result = corten.main(standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except OSError as error:
        from .reporting import say

        _forget_stdout()
        say(f"{error.filename or 'standard output'}: {error.strerror or error}")
        return 1
    except Exception as error:
        from .reporting import report

        return report(error)
    return result if isinstance(result, int) else 0


def _have_streams() -> None:
    """Where the caller closed 0, 1 or 2, what is opened next would take its place and be written to."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def _forget_stdout() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
