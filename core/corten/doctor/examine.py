"""What of the host belongs to nobody that the daemon knows: pure."""

from collections.abc import Iterator

from .model import Action, Finding, Host, Known


def findings(known: Known, host: Host) -> list[Finding]:
    """In the order in which they are best repaired: processes, what they hold, what is left on disk."""
    return [
        *_shims(known, host),
        *_containers(known, host),
        *_bundles(known, host),
        *_mounts(known, host),
        *_cgroups(known, host),
        *_stores(known, host),
    ]


def _shims(known: Known, host: Host) -> Iterator[Finding]:
    """One shim may have the tasks of a whole pod, or that of another id than it bears: any sign of one counts."""
    serving = {bundle.shim for bundle in host.bundles if bundle.key in known.tasks and bundle.shim}
    names = {f"-namespace {ns} -id {id} " for ns, id in known.tasks | known.sandboxes}
    for process in host.shims:
        serves = process.pid in serving or host.children.get(process.pid, frozenset()) & known.pids
        if serves or any(name in f"{process.command} " for name in names):
            continue
        why = "no task that the daemon knows is in it: it was started, or its task deleted, when the daemon died"
        yield Finding("shim", f"pid {process.pid}: {process.command}", why, Action.KILL, str(process.pid), process)


def _containers(known: Known, host: Host) -> Iterator[Finding]:
    for (namespace, id), root in host.runc:
        if (namespace, id) not in known.tasks:
            why = "runc has a container of which the daemon has no task"
            yield Finding("runc container", f"{namespace}/{id}", why, Action.DELETE_CONTAINER, f"{root}/{id}")


def _bundles(known: Known, host: Host) -> Iterator[Finding]:
    for bundle in host.bundles:
        if bundle.key not in known.tasks:
            why = "it is the bundle of a task that the daemon does not have"
            yield Finding("bundle", "/".join(bundle.key), why, Action.REMOVE_FOLDER, bundle.path)


def _mounts(known: Known, host: Host) -> Iterator[Finding]:
    """Those in a bundle go with it, and those of living tasks are theirs."""
    bundles = [bundle.path for bundle in host.bundles]
    for target in host.mounts:
        if target != known.state and not any(target.startswith(f"{path}/") for path in bundles):
            yield Finding("mount", target, "it is mounted where no bundle is", Action.UNMOUNT, target)
    for folder in host.temporary:
        why = "it was mounted for a look by a process that is gone"
        yield Finding("temporary mount", folder, why, Action.REMOVE_FOLDER, folder)


def _cgroups(known: Known, host: Host) -> Iterator[Finding]:
    for key, path in host.cgroups:
        if key not in known.tasks and key not in known.sandboxes:
            why = "no process is in it, and the daemon has no task of that name"
            yield Finding("cgroup", path, why, Action.REMOVE_CGROUP, path)


def _stores(known: Known, host: Host) -> Iterator[Finding]:
    """Something under way makes files before records: then nothing is said of them."""
    lost = {} if known.ingests else {d: size for d, size in host.blobs.items() if d not in known.digests}
    if lost:
        what = f"{len(lost)} blobs of {sum(lost.values())} bytes, e.g. {min(lost)}"
        yield Finding("content", what, "no namespace has a record of them", Action.COLLECT, "")
    for id, folders in host.snapshot_folders.items():
        if (extra := folders - known.snapshots.get(id, 0)) > 0:
            what = f"{extra} folders of {id}"
            yield Finding("snapshot", what, "no namespace has a record of their snapshots", Action.COLLECT, "")
