"""Garbage collection: which objects nothing keeps any more (`tricolor`, `labels`, `world`: pure), and their removal."""
