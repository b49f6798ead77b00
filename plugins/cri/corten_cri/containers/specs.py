"""The OCI spec of a container as its record has it."""

from __future__ import annotations

import json
from typing import Any

from ..parts import SCOPE, Parts


def spec_of(parts: Parts, id: str) -> dict[str, Any]:
    """A look-up in the store, quick enough for the event loop. Raises NotFound."""
    stored = parts.metadata.containers(SCOPE).get(id)
    found: dict[str, Any] = json.loads(stored.spec.value) if stored.spec and stored.spec.value else {}
    return found
