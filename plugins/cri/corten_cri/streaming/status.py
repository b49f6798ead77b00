"""How an exec or attach ended, as the error stream tells it: a Kubernetes `Status` as JSON, or a sentence before v4."""

import json
from collections.abc import Sequence
from typing import Any


def success() -> dict[str, Any]:
    return {"metadata": {}, "status": "Success"}


def exit_status(command: Sequence[str], code: int) -> dict[str, Any]:
    """Of a command that has ended."""
    if code == 0:
        return success()
    words = f"error executing command [{' '.join(command)}], exit code {code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {words}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(what: str) -> dict[str, Any]:
    """Of what did not come to an end: `what` says what was tried and what went wrong."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {what}",
        "reason": "InternalError",
        "code": 500,
    }


def encode(status: dict[str, Any], *, structured: bool) -> bytes:
    """For the error stream; before version 4 only failures are told, in words."""
    if structured:
        return json.dumps(status, separators=(",", ":")).encode()
    return str(status.get("message", "")).encode()
