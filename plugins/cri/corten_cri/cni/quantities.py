"""Quantities as Kubernetes writes them ("10M", "1Ki", "1.5e3"), for the bandwidth that pods ask for by annotation."""

import math
import re
from decimal import Decimal

from corten.errors import InvalidArgument

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d{1,3}|)\Z", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse(text: str) -> int:
    """The quantity as a whole number, rounded up. Raises InvalidArgument."""
    found = _FORM.match(text)
    if not found:
        raise InvalidArgument(f"{text!r:.100} is not a quantity (expected such as 10M or 500k)")
    number, suffix = Decimal(found[1]), found[2]
    if suffix in _BINARY:
        return math.ceil(number * (1 << _BINARY[suffix]))
    power = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return math.ceil(number.scaleb(power))
