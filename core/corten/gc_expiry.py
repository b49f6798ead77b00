"""The label by which a lease or an image ends by itself, for whoever sets it."""

import datetime

EXPIRE = "containerd.io/gc.expire"
IMAGE_REFERENCE = "containerd.io/gc.bref.image"
"""On an image: another one that it goes with."""
PASSING = (EXPIRE, IMAGE_REFERENCE)
"""The labels of an image that is not to stay by itself."""
"""Its value is a time in RFC 3339."""


def expiry_time(seconds: float) -> str:
    """The label's value for what ends in so many seconds, in UTC."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return end.strftime("%Y-%m-%dT%H:%M:%SZ")
