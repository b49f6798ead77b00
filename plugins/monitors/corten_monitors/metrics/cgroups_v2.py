"""The figures of cgroup v2; containerd's names are those of the message's fields."""

from corten.api.cgroups.v2 import metrics_pb2 as pb

from .figures import Figure

_DEVICE = ("major", "minor")
_NOT_TOLD = ("max_usage", "swap_max_usage", "psi")
"""Fields of the message that containerd does not export."""

FIGURES = (
    Figure("pids_limit", "The limit to the number of pids allowed", ("pids", "limit")),
    Figure("pids_current", "The current number of pids", ("pids", "current")),
    *(
        Figure(f"cpu_{name}_microseconds", f"{name} of cpu.stat", ("cpu", name))
        for name in ("usage_usec", "user_usec", "system_usec", "throttled_usec")
    ),
    *(Figure(f"cpu_{name}_total", f"{name} of cpu.stat", ("cpu", name)) for name in ("nr_periods", "nr_throttled")),
    *(
        Figure(f"memory_{field.name}_bytes", f"{field.name} of the memory controller", ("memory", field.name))
        for field in pb.MemoryStat.DESCRIPTOR.fields
        if field.name not in _NOT_TOLD
    ),
    Figure("memory_oom_total", "Times that memory ran out", ("memory_events", "oom")),
    *(
        Figure(f"io_{name}_{unit}", f"{name} of io.stat", ("io", "usage"), _DEVICE, name)
        for name, unit in (("rbytes", "bytes"), ("wbytes", "bytes"), ("rios", "total"), ("wios", "total"))
    ),
)
