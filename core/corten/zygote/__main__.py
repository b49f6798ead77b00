"""`python -m corten.zygote [PATH:]FD ROOM MODULE…`: serve the socket FD after importing the modules.

With a PATH it is a listening socket at that path, else a connected one. ROOM is of no meaning: its length is what the
children have for command lines of their own.
"""

import sys

assert sys.platform != "win32"

from corten.zygote.preload import skip_fork_hooks  # noqa: E402

skip_fork_hooks()

from corten.zygote import server  # noqa: E402  (threading must not be imported before its hook is filtered)

path, _, fd = sys.argv[1].rpartition(":")
if path:
    from corten.zygote import standing

    standing.main(path, int(fd), sys.argv[3:])
server.main(int(fd), sys.argv[3:])
