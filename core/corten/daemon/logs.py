"""What the daemon prints: one line for each message on stderr, in containerd's form or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

TRACE = 5
LEVELS = {
    "": logging.INFO, "trace": TRACE, "debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING,
    "warning": logging.WARNING, "error": logging.ERROR, "fatal": logging.CRITICAL, "panic": logging.CRITICAL,
}  # fmt: skip
"""containerd's names of levels."""

_NAMES = {TRACE: "trace", logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning"}
_NAMES |= {logging.ERROR: "error", logging.CRITICAL: "fatal"}
_NOISY = ("asyncio", "grpc", "urllib3", "stevedore", "opentelemetry", "aiohttp")


def setup(level: str, format: str) -> None:
    """Log to stderr from `level` up, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if format == "json" else TextLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    logging.raiseExceptions = False
    logging.captureWarnings(True)


class TextLine(logging.Formatter):
    """`time="…" level=info msg="…"`, with the error and its traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        pairs = _pairs(record)
        head = f"time={_quoted(pairs.pop('time'))} level={pairs.pop('level')}"
        return " ".join([head, *(f"{key}={_quoted(value)}" for key, value in pairs.items())])


class JsonLine(logging.Formatter):
    """The same as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(_pairs(record), ensure_ascii=False)


def _pairs(record: logging.LogRecord) -> dict[str, Any]:
    pairs = {"time": _time(record.created), "level": _NAMES.get(record.levelno, "info"), "msg": record.getMessage()}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        pairs["error"] = traceback.format_exception_only(error)[-1].strip()
        pairs["stack"] = "".join(traceback.format_exception(error)).rstrip()
    return pairs


def _time(seconds: float) -> str:
    """RFC 3339 in UTC, to the nanosecond in form and to the microsecond in fact."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e6):06d}000Z"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
