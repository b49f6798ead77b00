"""The metrics that are offered, under the names and with the labels of cAdvisor's, as containerd has them."""

from corten.api.cri.v1 import runtime_pb2 as pb

BASE = ("pod", "namespace", "container", "id", "image")
DISK = (*BASE, "device")
NETWORK = (*BASE, "interface")

_OFFERED = (
    ("container_cpu_user_seconds_total", "Time in user space, in seconds.", BASE),
    ("container_cpu_system_seconds_total", "Time in the kernel, in seconds.", BASE),
    ("container_cpu_usage_seconds_total", "Processor time, in seconds.", BASE),
    ("container_cpu_cfs_periods_total", "Periods in which the processor quota was enforced.", BASE),
    ("container_cpu_cfs_throttled_periods_total", "Periods in which the quota was used up.", BASE),
    ("container_cpu_cfs_throttled_seconds_total", "Time throttled by the quota, in seconds.", BASE),
    ("container_memory_cache", "Page cache, in bytes.", BASE),
    ("container_memory_rss", "Anonymous memory, in bytes.", BASE),
    ("container_memory_kernel_usage", "Memory of the kernel for the container, in bytes.", BASE),
    ("container_memory_mapped_file", "Files mapped into memory, in bytes.", BASE),
    ("container_memory_swap", "Swap in use, in bytes.", BASE),
    ("container_memory_failcnt", "How often the memory limit was hit; 0 with cgroups of version 2.", BASE),
    ("container_memory_usage_bytes", "Memory in use, page cache included, in bytes.", BASE),
    ("container_memory_max_usage_bytes", "The most memory that was ever in use, in bytes.", BASE),
    ("container_memory_working_set_bytes", "Memory in use without inactive page cache, in bytes.", BASE),
    ("container_memory_total_active_file_bytes", "Page cache used lately, in bytes.", BASE),
    ("container_memory_total_inactive_file_bytes", "Page cache not used lately, in bytes.", BASE),
    ("container_memory_failures_total", "Page faults by kind.", (*BASE, "failure_type", "scope")),
    ("container_oom_events_total", "Processes killed for the memory limit.", BASE),
    ("container_network_receive_bytes_total", "Bytes received.", NETWORK),
    ("container_network_receive_packets_total", "Packets received.", NETWORK),
    ("container_network_receive_packets_dropped_total", "Packets dropped on the way in.", NETWORK),
    ("container_network_receive_errors_total", "Errors on the way in.", NETWORK),
    ("container_network_transmit_bytes_total", "Bytes sent.", NETWORK),
    ("container_network_transmit_packets_total", "Packets sent.", NETWORK),
    ("container_network_transmit_packets_dropped_total", "Packets dropped on the way out.", NETWORK),
    ("container_network_transmit_errors_total", "Errors on the way out.", NETWORK),
    ("container_fs_inodes_free", "Inodes free on the file system of the writable layer.", DISK),
    ("container_fs_inodes_total", "Inodes of the writable layer.", DISK),
    ("container_fs_limit_bytes", "Size of the file system of the writable layer, in bytes.", DISK),
    ("container_fs_usage_bytes", "Size of the writable layer, in bytes.", DISK),
    ("container_fs_reads_bytes_total", "Bytes read.", DISK),
    ("container_fs_reads_total", "Reads.", DISK),
    ("container_fs_writes_bytes_total", "Bytes written.", DISK),
    ("container_fs_writes_total", "Writes.", DISK),
    (
        "container_blkio_device_usage_total",
        "Bytes by block device and operation.",
        (*DISK, "major", "minor", "operation"),
    ),
    ("container_processes", "Processes.", BASE),
    ("container_file_descriptors", "Open file descriptors of all processes.", BASE),
    ("container_sockets", "Open sockets of all processes.", BASE),
    ("container_threads_max", "Threads that are allowed; 0 for any number.", BASE),
    ("container_threads", "Threads.", BASE),
    ("container_ulimits_soft", "Soft limits of the first process.", (*BASE, "ulimit")),
    ("container_last_seen", "When the container was looked at, in seconds since the epoch.", BASE),
    ("container_start_time_seconds", "When it started, in seconds since the epoch.", BASE),
    ("container_spec_cpu_period", "Period of the processor quota, in microseconds.", BASE),
    ("container_spec_cpu_shares", "Processor shares.", BASE),
    ("container_spec_memory_limit_bytes", "Memory limit, in bytes.", BASE),
    ("container_spec_memory_reservation_limit_bytes", "Memory reservation, in bytes.", BASE),
    ("container_spec_memory_swap_limit_bytes", "Limit of memory and swap, in bytes.", BASE),
)


def descriptors() -> list[pb.MetricDescriptor]:
    """All of them."""
    return [pb.MetricDescriptor(name=name, help=help, label_keys=keys) for name, help, keys in _OFFERED]
