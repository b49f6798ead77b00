"""Labels that ask the daemon's restart monitor to start a container again when it ends; containerd's own names."""

import re
from dataclasses import replace

from corten.contracts.objects import Container
from corten.errors import InvalidArgument, NotFound

from .client import Client

STATUS = "containerd.io/restart.status"
POLICY = "containerd.io/restart.policy"
LOG_URI = "containerd.io/restart.loguri"
STOPPED = "containerd.io/restart.explicitly-stopped"
_POLICIES = re.compile(r"no|always|unless-stopped|on-failure(:\d{1,6})?", re.ASCII)


def labels(policy: str, log_uri: str) -> dict[str, str]:
    """Those of a container that is to be restarted by `policy`; none for `no`. Raises InvalidArgument."""
    if not _POLICIES.fullmatch(policy):
        raise InvalidArgument(f"restart policy {policy!r}: there are no, always, unless-stopped, on-failure[:TIMES]")
    if policy == "no":
        return {}
    return {STATUS: "running", POLICY: policy, LOG_URI: log_uri}


async def say(client: Client, container: Container, *, stopped: bool) -> None:
    """Tell the monitor that a person stopped the container, or wants it to run again; nothing without a policy."""
    if container.labels.get(POLICY, "no") == "no":
        return
    changed = {STOPPED: "true" if stopped else "false", STATUS: "stopped" if stopped else "running"}
    told = replace(container, labels={**container.labels, **changed})
    try:
        await client.containers.update(told, [f"labels.{key}" for key in changed])
    except NotFound:
        pass  # removed meanwhile: there is nobody to tell of
