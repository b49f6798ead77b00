"""A hook that edits the OCI spec."""

from typing import Any

from corten.plugin.hooks import hookimpl


class Wind:
    """Adds an environment variable."""

    @hookimpl
    def oci_spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        spec["process"]["env"] = [*spec["process"].get("env", []), "TAPE=wound"]
        return spec
