"""What an image says about running it: the `config` object of its config blob, which a registry gave, field by field.

https://github.com/opencontainers/image-spec/blob/main/config.md
"""

from collections.abc import Mapping
from dataclasses import field

from corten import labels
from corten.errors import InvalidArgument
from corten.values import dataclass

STOP_SIGNAL_LABEL = "io.containerd.image.config.stop-signal"
"""On a container: the signal that its image wants to be stopped with."""
_RESERVED = ("containerd.io/", "io.containerd.", "io.cri-containerd", "io.kubernetes.", "nerdctl/", "corten.")
"""Labels that programs of this host obey, so that an image must not set them (CVE-2026-53488)."""


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


def container_labels(image: ImageDefaults) -> dict[str, str]:
    """Labels of a container from its image's; those that mean something to the host or are too long are left out."""
    kept = {key: value for key, value in image.labels.items() if _may_be_kept(key, value)}
    return kept | ({STOP_SIGNAL_LABEL: image.stop_signal} if image.stop_signal else {})


def _may_be_kept(key: str, value: str) -> bool:
    fits = len(key.encode()) + len(value.encode()) <= labels.MAX_SIZE
    return fits and bool(key) and not key.startswith(_RESERVED)


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
