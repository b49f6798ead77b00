"""Exec, attach and port-forward as the kubelet and crictl want them: HTTP upgraded to SPDY or WebSocket."""
