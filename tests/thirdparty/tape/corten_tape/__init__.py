"""A package from outside: a snapshotter, a gRPC service and a hook, written against Corten's public contracts alone."""
