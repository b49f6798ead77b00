"""Which options a runtime takes. Those that nobody reads are refused: the container would run without what they ask."""

from corten.contracts.objects import AnyValue
from corten.errors import InvalidArgument

from . import names

RUNC = "containerd.runc.v1.Options"
_GENERIC = "runtimeoptions.v1.Options"
"""What CRI clients give any runtime; there is nothing in it for runc."""


def check(runtime: str, options: AnyValue | None) -> None:
    """Raises InvalidArgument for options that runc's shims do not know; Debian's dies of some. Others know theirs."""
    if runtime != names.OWN or options is None or not (options.type_url or options.value):
        return
    if options.type_url.rpartition("/")[2] not in (RUNC, _GENERIC):
        raise InvalidArgument(f"options of runtime {runtime}: their type is {options.type_url!r}; it takes {RUNC}")
