"""Labels that ask the daemon's restart monitor to start a container again when it ends; containerd's own names."""

import re
from collections.abc import Mapping
from dataclasses import replace

from corten.contracts.objects import Container
from corten.errors import InvalidArgument, NotFound

from .client import Client

STATUS = "containerd.io/restart.status"
POLICY = "containerd.io/restart.policy"
LOG_URI = "containerd.io/restart.loguri"
COUNT = "containerd.io/restart.count"
STOPPED = "containerd.io/restart.explicitly-stopped"
_POLICIES = re.compile(r"no|always|unless-stopped|on-failure(:\d{1,6})?", re.ASCII)


def labels(policy: str, log_uri: str) -> dict[str, str]:
    """Those of a container that is to be restarted by `policy`; none for `no`. Raises InvalidArgument."""
    if not _POLICIES.fullmatch(policy):
        raise InvalidArgument(f"restart policy {policy!r}: there are no, always, unless-stopped, on-failure[:TIMES]")
    if policy == "no":
        return {}
    return {STATUS: "running", POLICY: policy, LOG_URI: log_uri}


def again(labels: Mapping[str, str], exit_status: int) -> bool:
    """Whether the monitor is to start the container again after such an end of its process."""
    policy, _, times = labels.get(POLICY, "").partition(":")
    if labels.get(STATUS) != "running" or policy == "no":
        return False
    if policy == "on-failure":
        return exit_status != 0 and (not times or int(labels.get(COUNT) or 0) < int(times))
    return policy != "unless-stopped" or labels.get(STOPPED) != "true"


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
