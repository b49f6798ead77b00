"""Corten: a container runtime daemon that speaks containerd's APIs, built as a microkernel of plugins."""

__version__ = "0.1.0"

CONTAINERD_VERSION = "v2.4.0"
"""The release of containerd whose API this is, in the form that release reports."""

REVISION = f"corten-{__version__}"
"""Told beside that version: which Corten it is."""
