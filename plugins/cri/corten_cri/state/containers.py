"""The record of a container: frozen, replaced as a whole when it changes; the table has the present one."""

from collections.abc import Mapping
from dataclasses import field

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.values import dataclass

EXITED_ERROR = "Error"
EXITED_COMPLETED = "Completed"
OOM_KILLED = "OOMKilled"
START_ERROR = "ContainerStartingError"
START_EXIT = 128
"""Exit code of a container that could not be started, as the kubelet knows it."""
UNKNOWN_EXIT = 255
"""Exit code of a container that ended nobody knows how."""


@dataclass(frozen=True, slots=True)
class Container:
    """Times are ns since the epoch, 0: not yet. Messages in it are never changed: copy one before you edit it."""

    id: str
    name: str
    """Under which it was reserved: its own name, the pod's, and the attempt."""
    pod_id: str
    config: pb.ContainerConfig
    image_id: str
    """Digest of the image's config: the node's name for it."""
    image_ref: str = ""
    """The image by digest, as `ContainerStatus.image_ref` has it."""
    image_name: str = ""
    """A tag of the image, or else its digest."""
    snapshotter: str = ""
    stop_signal: str = ""
    """As the image says, e.g. `SIGTERM`; the request's is in `config`."""
    log_path: str = ""
    """Absolute; empty for none."""
    volume_images: Mapping[str, str] = field(default_factory=dict)
    """Ids of the images that are mounted as volumes, by their path in the container."""
    user: pb.ContainerUser | None = None
    resources: pb.ContainerResources | None = None
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    pid: int = 0
    reason: str = ""
    message: str = ""
    starting: bool = False
    removing: bool = False
    unknown: bool = False
    """Its state could not be found out after a restart; a stop makes it exited."""

    @property
    def wire_state(self) -> int:
        if self.unknown:
            return pb.CONTAINER_UNKNOWN
        if self.finished_at:
            return pb.CONTAINER_EXITED
        return pb.CONTAINER_RUNNING if self.started_at else pb.CONTAINER_CREATED

    @property
    def running(self) -> bool:
        return bool(self.wire_state == pb.CONTAINER_RUNNING)


def name_of(config: pb.ContainerConfig, pod: pb.PodSandboxMetadata) -> str:
    """What makes a container's name unique on the node."""
    own = config.metadata
    return "_".join((own.name, pod.name, pod.namespace, pod.uid, str(own.attempt)))
