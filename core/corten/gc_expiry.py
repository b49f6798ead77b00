"""The label by which a lease or an image ends by itself, for whoever sets it."""

import datetime

EXPIRE = "containerd.io/gc.expire"
"""Its value is a time in RFC 3339."""


def expiry_time(seconds: float) -> str:
    """The label's value for what ends in so many seconds, in UTC."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return end.strftime("%Y-%m-%dT%H:%M:%SZ")
