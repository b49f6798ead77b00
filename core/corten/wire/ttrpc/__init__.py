"""ttrpc, the light RPC between containerd, its shims and Corten: frames, client, server.

Nothing is imported here, so that a shim can take `frames` alone.
"""
