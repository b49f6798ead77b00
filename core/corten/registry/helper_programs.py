"""Docker's credential helpers: programs `docker-credential-NAME` that know who one is at a registry.

https://github.com/docker/docker-credential-helpers#development
"""

import asyncio
import json
import re
import subprocess

from corten.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound

from .credentials import Credentials

TIMEOUT = 30.0
"""Seconds a program has to answer."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_MAX_ANSWER = 1 << 20
_UNKNOWN = b"credentials not found"


async def ask(name: str, server: str) -> Credentials | None:
    """What `docker-credential-NAME get` says of `server`; None if it knows nobody there.

    Raises NotFound for a program that is not on PATH, FailedPrecondition for one that fails, DeadlineExceeded.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"credential helper {name[:100]!r}: it is not the name of a program")
    program = f"docker-credential-{name}"
    code, answer = await asyncio.to_thread(_run, program, server)
    if code and _UNKNOWN in answer:
        return None
    try:
        said = json.loads(answer) if code == 0 else None
        username, secret = (said.get("Username"), said.get("Secret")) if isinstance(said, dict) else (None, None)
    except ValueError:
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise FailedPrecondition(f"{program}: it gave no credentials for {server} (exit code {code})")
    return Credentials(identity_token=secret) if username == "<token>" else Credentials(username, secret)


def _run(program: str, server: str) -> tuple[int, bytes]:
    # Not asyncio's subprocess: under uvloop the child would inherit every descriptor.
    try:
        done = subprocess.run(
            [program, "get"], input=f"{server}\n".encode(), capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{program}: no answer within {TIMEOUT:g} s") from None
    except OSError as error:
        raise NotFound(f"{program}: cannot run it: {error} (install it, or take it out of the config)") from error
    return done.returncode, done.stdout[:_MAX_ANSWER]
