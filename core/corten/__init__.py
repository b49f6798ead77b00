"""Corten: a container runtime daemon that speaks containerd's APIs, built as a microkernel of plugins."""

__version__ = "0.1.0"
