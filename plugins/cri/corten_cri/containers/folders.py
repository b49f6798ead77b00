"""The folders of a container: what is kept of it, and what is volatile. Blocking."""

from __future__ import annotations

import os
from pathlib import Path

from corten.errors import mapped

from ..parts import Parts
from ..pods import files


def kept(parts: Parts, id: str) -> Path:
    """Status and volumes."""
    return parts.root / "containers" / id


def volatile(parts: Parts, id: str) -> Path:
    """FIFOs of execs."""
    return parts.state / "containers" / id


def make(parts: Parts, id: str) -> None:
    """Both, 0700."""
    for folder in (kept(parts, id), volatile(parts, id)):
        with mapped(f"make {folder}"):
            os.makedirs(folder, 0o700)


def remove(parts: Parts, id: str) -> None:
    """Both, with all that is in them; harmless if they are gone."""
    files.remove(kept(parts, id), volatile(parts, id))
