"""The namespaces of a pod, held by bind mounts and not by a process; made and taken away by short-lived helpers."""
