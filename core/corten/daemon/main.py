"""`cortend`: the command line, with containerd's flags and verbs. Errors are one sentence and exit code 1."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from corten.errors import CortenError

from . import stale
from .logs import LEVELS, setup

if TYPE_CHECKING:
    from .boot import Flags


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and end the process."""
    gc.disable()  # until the daemon is up: what is made on the way stays
    code = run(sys.argv[1:] if argv is None else argv)
    logging.shutdown()
    sys.stdout.flush()
    # Threads that a plugin left hanging would keep an orderly exit from ever ending.
    os._exit(code)


def run(argv: Sequence[str]) -> int:
    """The exit code."""
    arguments = parser().parse_args(argv)
    if not (arguments.verb or arguments.version):
        stale.clear(arguments.address or _DEFAULT_ADDRESS)  # before the imports, which take a third of a start
    from .boot import Flags

    flags = Flags(*(getattr(arguments, name) for name in Flags.__dataclass_fields__))
    try:
        return _verb(arguments, flags)
    except CortenError as error:
        print(f"cortend: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


_DEFAULT_ADDRESS = "/run/containerd/containerd.sock"
# `corten.config.settings` has it too; a socket that a configuration file names is replaced when the new one is placed.


def parser() -> argparse.ArgumentParser:
    """containerd's flags may stand before or after the verb."""
    top = argparse.ArgumentParser("cortend", description="The container runtime daemon of Corten.", allow_abbrev=False)
    top.add_argument("-v", "--version", action="store_true", help="print the version and exit")
    _add_flags(top, None)
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    config = verbs.add_parser("config", help="look at the configuration", allow_abbrev=False)
    kinds = config.add_subparsers(dest="config_verb", metavar="VERB", required=True)
    for name, text in _CONFIG_VERBS.items():
        kind = kinds.add_parser(name, help=text, description=text, allow_abbrev=False)
        _add_flags(kind, argparse.SUPPRESS)
        if name == "explain":
            kind.add_argument("key", metavar="KEY", help="such as root, or a plugin's URI, or URI.setting")
    publish = verbs.add_parser("publish", help="hand an event on stdin to the daemon", allow_abbrev=False)
    publish.add_argument("-n", "--namespace", default="default", help="namespace of the event")
    publish.add_argument("-t", "--topic", required=True, help="topic of the event, such as /tasks/exit")
    _add_flags(publish, argparse.SUPPRESS)
    hook = verbs.add_parser(
        "oci-hook", help="fill in what a hook of the OCI runtime is told, and run a program", allow_abbrev=False
    )
    hook.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM ARGS…")
    return top


_CONFIG_VERBS = {
    "default": "print every setting at its default",
    "dump": "print the configuration that a start would use",
    "migrate": "print the configuration files in the present version",
    "check": "print every error and warning; exit code 1 if there is one",
    "explain": "print the value of a setting, and which file set it",
}


def _add_flags(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", default=default, help="configuration file (YAML or TOML)")
    parser.add_argument("-a", "--address", metavar="PATH", default=default, help="socket of the gRPC server")
    parser.add_argument("--root", metavar="DIR", default=default, help="folder for what must survive a reboot")
    parser.add_argument("--state", metavar="DIR", default=default, help="folder for what must not")
    levels = [level for level in LEVELS if level]
    parser.add_argument("-l", "--log-level", choices=levels, default=default, help="least severe level to log")
    parser.add_argument("--log-format", choices=["text", "json"], default=default, help="form of a log line")


def _verb(arguments: argparse.Namespace, flags: Flags) -> int:
    if arguments.version:
        from .serve import version

        print(version())
        return 0
    if arguments.verb == "publish":
        return _publish(arguments, flags)
    if arguments.verb == "oci-hook":
        from . import oci_hook

        oci_hook.run(arguments.program)
    if arguments.verb == "config":
        return _config(arguments, flags)
    return _serve(flags)


def _serve(flags: Flags) -> int:
    from .boot import prepare

    setup(flags.log_level or "info", flags.log_format or "text")
    boot = prepare(flags)
    settings = boot.config.settings
    setup(settings.debug.level, settings.debug.format)
    from .serve import serve

    serve(boot)
    return 0


def _publish(arguments: argparse.Namespace, flags: Flags) -> int:
    from corten.config.settings import DEFAULT_ADDRESS

    from .publish import publish

    publish(flags.address or DEFAULT_ADDRESS, arguments.namespace, arguments.topic)
    return 0


def _config(arguments: argparse.Namespace, flags: Flags) -> int:
    from . import verbs

    if arguments.config_verb == "explain":
        return verbs.explained(flags, arguments.key)
    return {"default": verbs.default, "dump": verbs.dump, "migrate": verbs.migrated, "check": verbs.check}[
        arguments.config_verb
    ](flags)
