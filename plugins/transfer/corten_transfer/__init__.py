"""Images on their way: the streams that clients open, and transfers between registries, archives and the store."""
