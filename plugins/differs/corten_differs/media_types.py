"""Which layer media types are known here, and how each is compressed.

https://github.com/opencontainers/image-spec/blob/main/layer.md and Docker's image manifest version 2.
"""

from corten.errors import Unimplemented

OCI_TAR = "application/vnd.oci.image.layer.v1.tar"
OCI_GZIP = f"{OCI_TAR}+gzip"
OCI_ZSTD = f"{OCI_TAR}+zstd"
DOCKER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_TAR = "application/vnd.docker.image.rootfs.diff.tar"

_COMPRESSION = {
    OCI_TAR: "",
    OCI_GZIP: "gzip",
    OCI_ZSTD: "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    DOCKER_TAR: "",
    DOCKER_GZIP: "gzip",
    DOCKER_ZSTD: "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "",
}

_MAGIC = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


def compression(media_type: str) -> str:
    """`gzip`, `zstd`, or empty for a plain tar. Raises Unimplemented for a media type that is no layer known here."""
    if media_type not in _COMPRESSION:
        raise Unimplemented(f"media type {media_type!r} is not a layer that the differ walking knows")
    return _COMPRESSION[media_type]


def detected(start: bytes) -> str:
    """How a blob with these first bytes is compressed.

    Media types do not always tell the truth (Docker's plain layers are called gzip), so the bytes decide.
    """
    if start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50:  # a skippable frame of zstd (RFC 8878)
        return "zstd"
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "")
