"""The metrics endpoint of a real daemon, read as Prometheus reads it."""

import http.client
import os
import socket
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import images
import pytest
from daemon import Daemon, remove_cgroups, running_daemon
from peers import Ctr, free_port
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_metrics

pytestmark = pytest.mark.integration
IMAGE = "example.com/test/five:latest"
NAMESPACE = f"metrics-{os.getpid()}"
CONFIG = """
version = 3
[metrics]
address = "127.0.0.1:{port}"
grpc_histogram = true
"""
Figures = dict[str, dict[frozenset[tuple[str, str]], float]]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("metrics")
    config = folder / "config.toml"
    config.write_text(CONFIG.format(port=port))
    with running_daemon("-c", str(config)) as daemon:
        yield daemon
    remove_cgroups(NAMESPACE)


@pytest.fixture(scope="module")
def ctr(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ctr]:
    folder = tmp_path_factory.mktemp("image")
    layout = images.write_layout(folder / "layout")
    with tarfile.open(folder / "image.tar", "w") as tar:
        for path in sorted(Path(layout).rglob("*")):
            tar.add(path, str(path.relative_to(layout)))
    client = Ctr(daemon.address, NAMESPACE)
    daemon.corten("-n", NAMESPACE, "image", "import", str(folder / "image.tar"), "--name", IMAGE)
    yield client


def read(port: int, accept: str = "", path: str = "/v1/metrics") -> tuple[str, str]:
    status, text, kind = get(port, path, accept)
    assert status == 200, text
    return text, kind


def get(port: int, path: str, accept: str = "") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        connection.request("GET", path, headers={"accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers["content-type"]


def figures(port: int) -> Figures:
    found: Figures = {}
    for family in text_metrics(read(port)[0]):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def labels(**pairs: str) -> frozenset[tuple[str, str]]:
    return frozenset(pairs.items())


def test_build_plugins_and_the_process_are_told(ctr: Ctr, port: int) -> None:
    found = figures(port)
    assert list(found["containerd_build_info_total"].values()) == [1]
    assert found["corten_plugins"][labels(state="ok")] > 20
    assert found["process_resident_memory_bytes"][frozenset()] > 1 << 20


def test_calls_are_counted_by_how_they_end(ctr: Ctr, port: int) -> None:
    name = {"grpc_type": "unary", "grpc_service": "containerd.services.containers.v1.Containers", "grpc_method": "Get"}
    before = figures(port)
    assert ctr.try_("containers", "info", "absent").returncode != 0
    after = figures(port)
    ended = labels(**name, grpc_code="NotFound")
    assert after["grpc_server_handled_total"][ended] == before["grpc_server_handled_total"].get(ended, 0) + 1
    for metric in ("started", "msg_received"):
        metric = f"grpc_server_{metric}_total"
        assert after[metric][labels(**name)] == before[metric][labels(**name)] + 1
    assert after["grpc_server_msg_sent_total"][labels(**name)] == before["grpc_server_msg_sent_total"][labels(**name)]
    assert after["grpc_server_handling_seconds_count"][labels(**name)] >= 1


def test_transfers_and_collections_are_totalled(daemon: Daemon, ctr: Ctr, port: int) -> None:
    ctr("images", "tag", IMAGE, "example.com/test/other:latest")
    ctr("images", "rm", "--sync", "example.com/test/other:latest")  # waits for a collection
    found = figures(port)
    assert found["corten_transfers_total"][labels(kind="import", status="success")] == 1
    assert found["corten_transfers_under_way"][frozenset()] == 0
    assert found["containerd_gc_collections_total"][labels(status="success")] >= 1
    assert found["containerd_gc_gc_seconds_count"][frozenset()] >= 1


def test_a_container_has_containerds_figures_until_it_goes(ctr: Ctr, port: int) -> None:
    ctr("run", "-d", IMAGE, "told", "sh", "-c", "sleep 1000")
    own = labels(container_id="told", namespace=NAMESPACE)
    try:
        found = figures(port)
        assert found["container_pids_current"][own] >= 1
        memory = found.get("container_memory_usage_usage_bytes") or found["container_memory_usage_bytes"]
        assert memory[own] > 0
    finally:
        ctr("tasks", "rm", "-f", "told")
        ctr("containers", "rm", "told")
    assert own not in figures(port).get("container_pids_current", {})


def test_both_formats_are_served_and_nothing_else(ctr: Ctr, port: int) -> None:
    text, kind = read(port, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text") and {family.name for family in open_metrics(text)}  # type: ignore[no-untyped-call]
    text, kind = read(port, "text/plain")
    assert kind.startswith("text/plain")
    status, text, _ = get(port, "/")
    assert status == 404 and "/v1/metrics" in text
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert raw.recv(1 << 16) == b""
    assert figures(port)


def test_a_port_that_is_taken_is_named_and_the_daemon_runs_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = f"version: 4\nplugins:\n  io.containerd.server.v1.metrics: {{address: '{address}'}}\n"
        with running_daemon(config=config) as daemon:
            told = daemon.corten("plugins", "explain", "io.containerd.server.v1.metrics").stdout
            assert address in told and "cannot listen" in told


def test_without_an_address_it_is_off() -> None:
    with running_daemon() as daemon:
        told = daemon.corten("plugins", "explain", "io.containerd.server.v1.metrics").stdout
        assert "no address is set" in told
