"""OCI runtime specs, built purely: the same image, options and user give the same new document, and share nothing.

The one owner of spec building in Corten. Steps, each a function over plain data:

    image = image_defaults.parse(config.execution)         # what the image wants
    user = rootfs.resolve_user(root, image.user)           # names become numbers
    document = spec.build("default", "web-1", SpecOptions(user=user), image)

What may be asked for stands in `options`. Facts of this host are looked up apart from building: `devices.nodes`,
`seccomp.load`, `capabilities.of_this_process`, and in `corten.linux` `cgroups`, `oom.clamped`, `propagation.check`.
https://github.com/opencontainers/runtime-spec/blob/main/config.md
"""
