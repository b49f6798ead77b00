"""Reads the OCI specs that handlers name as `base_runtime_spec`, once, at the start."""

import json
from collections.abc import Mapping
from typing import Any

from corten.errors import InvalidArgument, mapped

from .runtime import RuntimeConfig


def load(config: RuntimeConfig) -> dict[str, Mapping[str, Any]]:
    """By file name. Raises NotFound, InvalidArgument for what is not a JSON object."""
    files = {handler.base_runtime_spec for handler in config.handlers.values() if handler.base_runtime_spec}
    return {file: _read(file) for file in sorted(files)}


def _read(file: str) -> Mapping[str, Any]:
    with mapped(f"base_runtime_spec {file}"), open(file, "rb") as opened:
        data = opened.read()
    try:
        found = json.loads(data)
    except ValueError as error:
        raise InvalidArgument(f"base_runtime_spec {file}: it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidArgument(f"base_runtime_spec {file}: it is not a JSON object")
    return found
