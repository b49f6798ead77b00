"""What lists say of a task: its state and its metrics, each within a time limit."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from corten.api.types import metrics_pb2
from corten.contracts.runtime import ProcessState, Status, Stdio, Task
from corten.errors import CortenError, NotFound
from corten.filters import Lookup
from corten.messages.values import any_message, timestamp

log = logging.getLogger(__name__)

TIMEOUT = 2.0
"""Seconds in which a shim must answer for a list."""


async def state_of(task: Task) -> ProcessState | None:
    """None for a task that was deleted meanwhile; a task that cannot tell is of unknown status, not gone."""
    try:
        return await asyncio.wait_for(task.state(), TIMEOUT)
    except NotFound:
        return None
    except (CortenError, TimeoutError) as error:
        log.warning('task "%s" in %s: it does not tell its state: %s', task.id, task.namespace, error)
        return ProcessState(task.id, "", task.pid, Status.UNKNOWN, Stdio())


async def metric_of(task: Task) -> metrics_pb2.Metric | None:
    collected = time.time_ns()
    try:
        data = await asyncio.wait_for(task.stats(), TIMEOUT)
    except NotFound:
        return None
    except (CortenError, TimeoutError) as error:
        log.warning('task "%s" in %s: it gives no metrics: %s', task.id, task.namespace, error)
        return None
    return metrics_pb2.Metric(timestamp=timestamp(collected), id=task.id, data=any_message(data))


def task_lookup(task: Task) -> Lookup:
    return _flat({"id": task.id, "namespace": task.namespace})


def state_lookup(state: ProcessState) -> Lookup:
    return _flat({"id": state.container_id, "status": str(state.status)})


def _flat(fields: Mapping[str, str]) -> Lookup:
    def field(path: Sequence[str]) -> str | None:
        return fields.get(path[0]) if len(path) == 1 else None

    return field
