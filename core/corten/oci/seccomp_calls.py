"""System calls by what they are for, as data of the default seccomp profile (syscalls(2), capabilities(7)).

A name that a kernel or libseccomp does not know is passed over by the runtime, so every architecture's are here.
"""

_FILES = """
    access chdir chmod chown chown32 close close_range creat dup dup2 dup3 faccessat faccessat2 fchdir fchmod fchmodat
    fchmodat2 fchown fchown32 fchownat fcntl fcntl64 flock fstat fstat64 fstatat64 fstatfs fstatfs64 getcwd getdents
    getdents64 ioctl lchown lchown32 link linkat lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat
    open openat openat2 readlink readlinkat rename renameat renameat2 rmdir stat stat64 statfs statfs64 statx symlink
    symlinkat umask unlink unlinkat futimesat utime utimensat utimensat_time64 utimes listmount statmount
"""

_XATTRS = """
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
"""

_DATA = """
    copy_file_range fadvise64 fadvise64_64 fallocate fdatasync fsync ftruncate ftruncate64 _llseek lseek pread64 preadv
    preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee
    truncate truncate64 vmsplice write writev io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    io_setup io_submit ioprio_get ioprio_set
"""

_WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch _newselect pause poll ppoll
    ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4
"""

_MEMORY = """
    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
    shmat shmctl shmdt shmget
"""

_PROCESSES = """
    execve execveat exit exit_group fork getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid
    kill pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease set_tid_address setpgid setpriority setrlimit
    setsid tgkill tkill ugetrlimit vfork wait4 waitid waitpid get_thread_area set_thread_area rseq uretprobe
"""

_SCHEDULING = """
    getcpu sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield
"""

_IDENTITY = """
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
    getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
"""

_SIGNALS = """
    restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
"""

_TIME = """
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times
"""

_SYNCHRONISATION = """
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list set_robust_list ipc
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    msgctl msgget msgrcv msgsnd pipe pipe2 semctl semget semop semtimedop semtimedop_time64
"""

_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""

_SELF_RESTRICTION = """
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr seccomp
"""

_KERNEL = "getrandom sysinfo uname"

_GROUPS = (
    *(_FILES, _XATTRS, _DATA, _WAITING, _MEMORY, _PROCESSES, _SCHEDULING, _IDENTITY, _SIGNALS, _TIME),
    *(_SYNCHRONISATION, _SOCKETS, _SELF_RESTRICTION, _KERNEL),
)

ALWAYS = frozenset(name for group in _GROUPS for name in group.split())

TRACING = ("process_vm_readv", "process_vm_writev", "ptrace")

_ADMIN = """
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
    open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
"""

BY_CAPABILITY: dict[str, tuple[str, ...]] = {
    "CAP_BPF": ("bpf",),
    "CAP_DAC_READ_SEARCH": ("open_by_handle_at",),
    "CAP_PERFMON": ("perf_event_open",),
    "CAP_SYSLOG": ("syslog",),
    "CAP_SYS_ADMIN": tuple(_ADMIN.split()),
    "CAP_SYS_BOOT": ("reboot",),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "CAP_SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise", *TRACING),
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_TIME": ("clock_settime", "clock_settime64", "settimeofday", "stime"),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
}

_ARM = ("arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2")
_S390 = ("s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr")

BY_ARCHITECTURE: dict[str, tuple[str, ...]] = {
    "386": ("modify_ldt",),
    "amd64": ("arch_prctl", "modify_ldt"),
    "arm": _ARM,
    "arm64": _ARM,
    "ppc64le": ("swapcontext", "sync_file_range2"),
    "riscv64": ("riscv_flush_icache", "riscv_hwprobe"),
    "s390": _S390,
    "s390x": _S390,
}

ARCHITECTURES: dict[str, tuple[str, ...]] = {
    # the host's own first, then those whose programs it runs
    "amd64": ("X86_64", "X86", "X32"),
    "arm64": ("AARCH64", "ARM"),
    "loong64": ("LOONGARCH64",),
    "mips64": ("MIPS64", "MIPS", "MIPS64N32"),
    "mips64le": ("MIPSEL64", "MIPSEL", "MIPSEL64N32"),
    "riscv64": ("RISCV64",),
    "s390x": ("S390X", "S390"),
}
"""By architecture of the host; none named means the native one."""
