"""The own shim as an ordinary shim v2 binary, `containerd-shim-corten-v1`, for containerd or any other caller.

The program answers `start`, `delete`, `-info` and `-v` and ends; the shim itself is forked from a zygote that stands in
a folder for each state directory. The first start there launches it, later ones find it, and it ends when the last of
its shims has.

    main      flags and verbs
    place     where the sockets are, for a bundle
    starting  `start`: the old way and the bootstrap protocol
    deleting  `delete`: what a shim that has died left
"""
