"""Cheap processes: a server that has imported what its children need, frozen its heap, and forks them on request.

`client.Zygote` is the daemon's side and implements `corten.contracts.workers.Workers`; `python -m corten.zygote` is the
server. It is started by exec, so nothing of the daemon's threads or locks is ever in a forked child.
"""
