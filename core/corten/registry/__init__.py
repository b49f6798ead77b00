"""Images from registries and archives into a content store: the one pull path of Corten.

The bytes go through a `BlobSink` (`corten.registry.sink`), an asynchronous door to a content store: the client's, over
the wire, or `StoreSink` around a `corten.contracts.content.ContentStore` of the same process. Whoever calls holds a
lease meanwhile, so that gc takes nothing away, makes the image record afterwards, and unpacks.

    from corten import platforms, references
    from corten.registry.client import RegistryClient
    from corten.registry.pull import pull

    reference = references.parse("busybox:1.36")                  # docker.io/library/busybox:1.36
    async with RegistryClient(credentials=docker_credentials()) as registry:     # corten.registry.docker_config
        image = await pull(registry, reference, sink, platforms.host(), progress=show)
    # image: corten.oci_image.model.PulledImage(name, target, manifest, config, layers, diff_ids)

    from corten.registry.archive import import_archive
    images = await import_archive(file, sink)     # an open binary file: OCI layout or docker save
    # images: list of ImportedImage(name, target)

Unpacking is planned purely by `corten.oci_image.unpack` (`plan(layers, diff_ids)`), images are made by
`corten.oci_image.build` and `corten.oci_image.busybox`.

Where a registry's images are had, host directories say (`host_roots=`): `hosts_toml` and `host_folders` read them,
`endpoints` makes the plan, `client` follows it through `connections`.

Progress is told by calls `progress(Progress(digest, kind, offset, total, state))`, `corten.registry.progress`.
Errors are those of `corten.errors`: NotFound, Unauthenticated and PermissionDenied as the registry answers,
DataLoss for bytes that are not what their digest or length says, Unavailable for a registry that cannot be reached,
InvalidArgument for documents that are malformed, ResourceExhausted for ones that are too large.
"""
