"""The annotations in an index.json that name images."""

IMAGE_NAME = "io.containerd.image.name"
"""containerd's: the whole name."""
REF_NAME = "org.opencontainers.image.ref.name"
"""OCI's: by custom the tag alone."""
