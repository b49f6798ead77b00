"""The annotations in an index.json that name images, and what belongs to them."""

IMAGE_NAME = "io.containerd.image.name"
"""containerd's: the whole name."""
REF_NAME = "org.opencontainers.image.ref.name"
"""OCI's: by custom the tag alone."""
SUBJECT = "io.containerd.manifest.subject"
"""containerd's: the entry is no image, but about the document with this digest."""
