"""The own shim: the process that owns a container's task, forked from the zygote and outliving the daemon.

One thread on epoll, protobuf and nothing heavier, because there is one of it for every container: no asyncio, no
logging, no subprocess, no grpc, and after the fork no import. It speaks `containerd.task.v2.Task` (and v3, which has
the same messages) over ttrpc on a unix socket, drives runc by posix_spawn, and is the reaper of all that runc starts.

    keeper    the process that stays;  worker  the one that works for a while;  parcel  what one leaves to the next
    loop      epoll, timers, and generators as cheap coroutines
    reaper    exit statuses, also of processes not yet known
    spawn     a command, and runc with its errors
    streams   stdio: FIFOs, pipes, terminals
    logged    stdio that goes to a log and to those who attach;  lines, logfile, attached  its parts
    process   one process and its states
    container init and execs of one container, and what may be done to them
    service   the RPCs;  server  the socket;  publisher  events to the daemon
    cgroups…  the statistics
"""
