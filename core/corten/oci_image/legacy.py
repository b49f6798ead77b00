"""Manifests of registries from before 2017, which call a config `application/octet-stream`; pure.

https://github.com/distribution/distribution/issues/1622. Clients know a container image by the media type of its
config, so that such a manifest is stored as containerd stores it: with docker's media type, and the same bytes.
"""

import json
from collections.abc import Mapping
from typing import Any

from . import media_types
from .model import Manifest

CONFIG = "application/octet-stream"
_MANIFEST = ("schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations")
_DESCRIPTOR = ("mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType")
_ESCAPED = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def may_be_image(manifest: Manifest) -> bool:
    """Whether its config may be one of a container image under the old media type."""
    return manifest.config.media_type == CONFIG and not manifest.artifact_type


def renewed(document: Mapping[str, Any]) -> bytes:
    """The manifest with docker's media type of a config."""
    config = {**document["config"], "mediaType": media_types.DOCKER_CONFIG}
    parts = {"config": _ordered(config, _DESCRIPTOR), "layers": [_ordered(x, _DESCRIPTOR) for x in document["layers"]]}
    text = json.dumps(_ordered({**document, **parts}, _MANIFEST), indent=3, ensure_ascii=False)
    return text.translate(_ESCAPED).encode()  # as Go writes it: the same image has the same digest


def _ordered(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the specification in its order, maps by their keys, empty ones left out."""
    found = {key: values[key] for key in keys if values.get(key) not in (None, "", [], {}) or key == "layers"}
    return {key: dict(sorted(value.items())) if key == "annotations" else value for key, value in found.items()}
