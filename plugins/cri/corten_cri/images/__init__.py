"""Images as the kubelet sees them: by id, with all their names."""
