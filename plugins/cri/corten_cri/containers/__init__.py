"""Containers: made, started, stopped, removed, changed, listed; and the processes beside their own."""
