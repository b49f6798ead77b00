"""The config blob of an image: read from bytes that a registry gave, so every field is checked.

https://github.com/opencontainers/image-spec/blob/main/config.md
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from corten.errors import InvalidArgument

MAX_SIZE = 8 << 20
"""Bytes of a config blob that is read at all."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about running it, and the diff ids of its layers, lowest first."""

    os: str = "linux"
    architecture: str = ""
    variant: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    diff_ids: tuple[str, ...] = ()


def parse(data: bytes) -> ImageConfig:
    """Raises InvalidArgument for what is not an image config."""
    document = _object(_json(data), "image config")
    config = _object(document.get("config"), "config")
    return ImageConfig(
        os=_text(document, "os"),
        architecture=_text(document, "architecture"),
        variant=_text(document, "variant"),
        entrypoint=_texts(config, "Entrypoint"),
        cmd=_texts(config, "Cmd"),
        env=_texts(config, "Env"),
        working_dir=_text(config, "WorkingDir"),
        user=_text(config, "User"),
        stop_signal=_text(config, "StopSignal"),
        labels=_labels(config),
        diff_ids=_texts(_object(document.get("rootfs"), "rootfs"), "diff_ids"),
    )


def _json(data: bytes) -> Any:
    if len(data) > MAX_SIZE:
        raise InvalidArgument(f"image config: {len(data)} bytes are more than the {MAX_SIZE} that are read")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"image config: not JSON: {error}") from error


def _object(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"image config: {name} is not an object")
    return value


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str) or "\0" in value:
        raise InvalidArgument(f"image config: {key} is not a text")
    return value


def _texts(document: dict[str, Any], key: str) -> tuple[str, ...]:
    value = document.get(key) or []
    if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
        raise InvalidArgument(f"image config: {key} is not a list of texts")
    return tuple(value)


def _labels(document: dict[str, Any]) -> dict[str, str]:
    value = _object(document.get("Labels"), "Labels")
    if not all(isinstance(v, str) for v in value.values()):
        raise InvalidArgument("image config: Labels is not a map of texts")
    return value
