"""Pods: made, stopped, removed, listed."""
