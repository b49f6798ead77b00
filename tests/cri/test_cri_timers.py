"""Metrics of the kubelet's calls and of network plugins, under containerd's names."""

import asyncio
import re
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import peers
import pytest
from corten.errors import NotFound
from corten_cri.timers import SET_UP, Timers
from cri.cri_world import cri_node


def test_only_what_succeeds_is_timed_and_every_network_operation_counts() -> None:
    timers = Timers()
    with pytest.raises(NotFound), timers.call("container_stop", "runc"), timers.network(SET_UP):
        raise NotFound("gone")
    with timers.call("container_stop", "runc"), timers.network(SET_UP):
        pass
    found = {each.name: each for each in timers.metrics()}
    (stopped,) = found["containerd_cri_container_stop_seconds"].samples
    assert (stopped.labels, getattr(stopped, "count", 0)) == (("runc",), 1)
    (all_of_them,) = found["containerd_cri_network_plugin_operations_total_total"].samples
    (failed,) = found["containerd_cri_network_plugin_operations_errors_total_total"].samples
    assert (getattr(all_of_them, "value", 0), getattr(failed, "value", 0)) == (2, 1)


@pytest.mark.integration
async def test_a_pod_s_life_is_timed(tmp_path: Path) -> None:
    address = f"127.0.0.1:{peers.free_port()}"
    with cri_node(tmp_path, f"  io.containerd.server.v1.metrics: {{address: '{address}'}}\n") as node:
        async with node.client() as cri:
            await cri.pull()
            pod = await cri.run_pod(cri.networked())
            container = await cri.started(pod, "sleep", "1000")
            await cri.remove_pod(pod)
            text = await asyncio.to_thread(_read, address)
    assert container and "containerd_cri_container_events_dropped_total 0" in text
    labels = r'(\{runtime="io\.containerd\.runc\.v2"\})?'
    for name in ("container_create", "container_start", "sandbox_runtime_create", "sandbox_create_network"):
        assert re.search(rf"^containerd_cri_{name}_seconds_count{labels} 1(\.0)?$", text, re.MULTILINE), name
    for operation in ("set_up_pod", "tear_down_pod"):
        label = f'{{operation_type="{operation}"}}'
        assert f"containerd_cri_network_plugin_operations_total_total{label} 1" in text
        assert f"containerd_cri_network_plugin_operations_duration_seconds_seconds_count{label} 1" in text


def _read(address: str) -> str:
    with closing(HTTPConnection(address, timeout=20)) as connection:
        connection.request("GET", "/v1/metrics")
        return connection.getresponse().read().decode()
