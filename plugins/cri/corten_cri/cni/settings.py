"""What the network of pods is made with: the settings of CRI that concern it, and the folder of each handler."""

from collections.abc import Mapping
from dataclasses import field

from corten.values import dataclass

from ..config.runtime import RuntimeConfig

DEFAULT = "default"
"""The folder of handlers that have none of their own, under the name that the verbose status shows."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """`folders`: name (a handler, or `DEFAULT`) to folder and number of files."""

    folders: Mapping[str, tuple[str, int]]
    bin_dirs: tuple[str, ...]
    serially: bool = False
    template: str = ""
    preference: str = ""
    shows_loopback: bool = True
    deadline: float = field(default=120.0)
    """Seconds that one plugin may take."""


def of_config(config: RuntimeConfig) -> NetworkSettings:
    """The settings as CRI was given them."""
    cni = config.cni
    own = {
        name: (handler.cni_conf_dir, handler.cni_max_conf_num or cni.max_conf_num)
        for name, handler in config.handlers.items()
        if handler.cni_conf_dir
    }
    return NetworkSettings(
        folders={DEFAULT: (cni.conf_dir, cni.max_conf_num), **own},
        bin_dirs=config.cni_bin_dirs,
        serially=cni.setup_serially,
        template=cni.conf_template,
        preference=cni.ip_pref,
        shows_loopback=not cni.use_internal_loopback,
        deadline=cni.plugin_deadline,
    )
