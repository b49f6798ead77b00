"""What the node tells of itself: conditions, handlers and their features, the runtime's configuration."""
