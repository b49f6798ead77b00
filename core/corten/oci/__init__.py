"""OCI runtime specs, built purely: the same image, options and user give the same new document, and share nothing.

The one owner of spec building in Corten. Steps, each a function over plain data:

    image = image_defaults.parse(config.execution)         # what the image wants
    user = users.resolve(image.user, passwd, group)        # names become numbers
    document = spec.build("default", "web-1", SpecOptions(user=user), image)

https://github.com/opencontainers/runtime-spec/blob/main/config.md
"""
