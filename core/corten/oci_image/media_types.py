"""Media types of images, OCI's and docker's, and what kind of thing each is.

https://github.com/opencontainers/image-spec/blob/main/media-types.md,
https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
"""Manifests that docker made until 2015."""

UNSAID = ("", "application/json", "application/octet-stream", "text/plain")
"""What registries call a manifest that do not know what it is, a web server with files in its place, say."""

INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
ACCEPT = ", ".join((DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, "*/*"))
"""What to ask a registry for when a manifest is wanted."""


def is_layer(media_type: str) -> bool:
    """Layers of images, foreign and encrypted ones included."""
    return media_type.startswith(_LAYERS)


_LAYERS = (
    OCI_LAYER,
    DOCKER_LAYER,
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.erofs.layer.v1",
)


def is_distributable(media_type: str) -> bool:
    """Whether whoever has a blob may pass it on; the others are had from where their maker has them."""
    return not media_type.startswith(_FOREIGN)


_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


def kind(media_type: str) -> str:
    """`index`, `manifest`, `config`, `layer` or `unknown`: the words that ingest refs begin with, as in containerd."""
    if media_type in INDEXES:
        return "index"
    if media_type in MANIFESTS:
        return "manifest"
    if media_type in CONFIGS:
        return "config"
    return "layer" if is_layer(media_type) else "unknown"


def ref_key(media_type: str, digest: str) -> str:
    """The ref under which containerd's clients ingest such a blob; the same ref resumes what another client began."""
    return f"{kind(media_type)}-{digest}"
