"""The settings of `io.containerd.nri.v1.nri`, under containerd's names."""

from dataclasses import field

from corten.config.units import Duration
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class ValidatorConfig:
    """What the built-in validator refuses of what plugins want."""

    enable: bool = False
    """Have the built-in validator look at each container."""
    reject_oci_hook_adjustment: bool = False
    """Refuse OCI hooks."""
    reject_runtime_default_seccomp_adjustment: bool = False
    """Refuse another seccomp policy for containers with the runtime's default one."""
    reject_unconfined_seccomp_adjustment: bool = False
    """Refuse a seccomp policy for unconfined containers."""
    reject_custom_seccomp_adjustment: bool = False
    """Refuse another seccomp policy for containers with one of their own."""
    reject_namespace_adjustment: bool = False
    """Refuse other Linux namespaces."""
    reject_sysctl_adjustment: bool = False
    """Refuse sysctls."""
    required_plugins: tuple[str, ...] = ()
    """Plugins, by `NAME` or `IDX-NAME`, without which no container is made."""
    tolerate_missing_plugins_annotation: str = ""
    """Annotation of pods that are made without them, if it is `true`; empty for none."""


@dataclass(frozen=True, slots=True)
class NriConfig:
    """How NRI plugins are found and waited for."""

    disable: bool = False
    """Do without NRI."""
    socket_path: str = "/var/run/nri/nri.sock"
    """Where plugins connect."""
    plugin_path: str = "/opt/nri/plugins"
    """Folder of plugins that are started with the daemon, each named `IDX-NAME`, IDX two digits."""
    plugin_config_path: str = "/etc/nri/conf.d"
    """Folder of their configurations: `IDX-NAME.conf`, else `NAME.conf`."""
    plugin_registration_timeout: Duration = 5.0
    """How long a plugin that has connected may take to register, and then to take in the state of things."""
    plugin_request_timeout: Duration = 2.0
    """How long a plugin may take for an answer; then it is cut off."""
    disable_connections: bool = False
    """Take no connections: only the plugins that are started with the daemon take part."""
    default_validator: ValidatorConfig = field(default_factory=ValidatorConfig)
    """The built-in validator."""
