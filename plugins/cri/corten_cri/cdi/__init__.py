"""The Container Device Interface: what vendors' descriptions say that a container with a device needs."""
