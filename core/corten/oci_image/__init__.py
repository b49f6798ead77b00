"""Images as the OCI specification describes them: documents, labels and plans; pure, with no I/O.

https://github.com/opencontainers/image-spec; docker's older media types are read as well.
"""
