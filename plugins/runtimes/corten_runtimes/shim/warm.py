"""Preloaded by the zygote: imports the shim, and runs its hot paths once so that children share what that allocates."""

import json
import os
import socket
import sys
from typing import Any

if sys.platform == "linux":
    from corten.api.events import task_pb2 as events
    from corten.api.runtime.task.v2 import shim_pb2 as task
    from corten.api.ttrpc import request_pb2
    from corten.api.types import event_pb2
    from corten.linux import mountinfo
    from corten.wire.ttrpc import frames

    from . import cgroups, entry  # noqa: F401  (entry is what is forked)
    from .events import Announcer
    from .loop import Loop
    from .reaper import Reaper
    from .server import Server
    from .service import SERVICES, TaskService, spec_facts
    from .spawn import last_error

    def warm() -> None:
        """A call through socket, frames and service; an event; the JSON and text readers. Raises nothing of note."""
        loop = Loop()
        settings: dict[str, Any] = {"namespace": "warm", "runc": "runc", "runc_root": "/", "console": ""}
        told: list[event_pb2.Envelope] = []
        announce = Announcer("warm", told.append)
        service = TaskService(loop, Reaper(), announce, settings, lambda: None)
        ours, theirs = socket.socketpair()
        listener = socket.socket(socket.AF_UNIX)
        server = Server(loop, listener, SERVICES, service.methods)
        server.adopt(theirs)
        for number, name in enumerate(("State", "Connect", "Stats", "Wait")):
            request = request_pb2.Request(service=SERVICES[0], method=name)
            request.payload = task.StateRequest(id="warm").SerializeToString()
            ours.sendall(frames.encode(2 * number + 1, frames.REQUEST, request.SerializeToString()))
        loop.after(0.001, loop.stop)
        loop.run()
        ours.close()
        theirs.close()
        listener.close()
        loop.close()
        events.TaskExit(container_id="warm").exited_at.FromNanoseconds(1)
        cgroups.locate("0::/", mountinfo.mounts())
        last_error('{"level":"error","msg":"warm"}')
        spec_facts(json.loads('{"linux":{"namespaces":[{"type":"pid"}]}}'))
        os.waitstatus_to_exitcode(0)

    warm()
