"""What an image says about running it: the `config` object of its config blob, which a registry gave, field by field.

https://github.com/opencontainers/image-spec/blob/main/config.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """Empty where the image says nothing."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def parse(execution: Mapping[str, object]) -> ImageDefaults:
    """Raises InvalidArgument for a field of another type than the specification's."""
    return ImageDefaults(
        entrypoint=_texts(execution, "Entrypoint"),
        cmd=_texts(execution, "Cmd"),
        env=_texts(execution, "Env"),
        working_dir=_text(execution, "WorkingDir"),
        user=_text(execution, "User"),
        stop_signal=_text(execution, "StopSignal"),
        labels=_labels(execution),
    )


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str) or "\0" in value:
        raise InvalidArgument(f"image config: {key} is not a text")
    return value


def _texts(document: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = document.get(key) or []
    if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
        raise InvalidArgument(f"image config: {key} is not a list of texts")
    return tuple(value)


def _labels(document: Mapping[str, object]) -> dict[str, str]:
    value = document.get("Labels") or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidArgument("image config: Labels is not a map of texts")
    return value
