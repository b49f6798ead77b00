"""`python -m corten.zygote FD ROOM MODULE…`: serve the control socket FD after importing the modules.

ROOM is of no meaning: its length is what the children have for command lines of their own.
"""

import sys

assert sys.platform != "win32"

from corten.zygote.preload import skip_fork_hooks  # noqa: E402

skip_fork_hooks()

from corten.zygote.server import main  # noqa: E402  (threading must not be imported before its hook is filtered)

main(int(sys.argv[1]), sys.argv[3:])
