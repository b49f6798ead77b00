"""Sandboxes whose shims speak the sandbox API: the controller that starts them, and the way of tasks into them."""
