"""containerd's CRI sections are understood: all keys, and version 2's one section spread over the present three."""

from pathlib import Path
from typing import Any

import pytest
from corten.config.document import Document
from corten.config.files import read
from corten.config.load import Config, load
from corten_cri.config.images import ImagesConfig
from corten_cri.config.runtime import Handler, RuntimeConfig
from corten_cri.config.server import ServerConfig
from corten_cri.registration import plugins

VERSION_2 = """
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.example/pause:1"
max_container_log_line_size = 8192
stream_server_port = "10010"
max_concurrent_downloads = 5
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/tmp/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "kata"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
pod_annotations = ["io.katacontainers.*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata.options]
ConfigPath = "/etc/kata.toml"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/tmp/certs.d"
"""


def loaded(folder: Path, text: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    documents: list[Document] = [read(str(file))]
    return load(documents, plugins())


def test_version_2_goes_to_the_present_sections(tmp_path: Path) -> None:
    config = loaded(tmp_path, VERSION_2)
    assert [str(problem) for problem in config.problems] == []
    runtime = config.plugins["io.containerd.cri.v1.runtime"]
    images = config.plugins["io.containerd.cri.v1.images"]
    server = config.plugins["io.containerd.grpc.v1.cri"]
    assert isinstance(runtime, RuntimeConfig)
    assert isinstance(images, ImagesConfig)
    assert isinstance(server, ServerConfig)
    assert runtime.cni_bin_dirs == ("/usr/lib/cni",)
    assert runtime.max_container_log_line_size == 8192
    name, handler = runtime.handler("")
    assert (name, handler.runtime_type) == ("kata", "io.containerd.kata.v2")
    assert handler.options == {"ConfigPath": "/etc/kata.toml"}
    assert "runc" in runtime.handlers
    assert images.pinned_images["sandbox"] == "registry.example/pause:1"
    assert (images.snapshotter, images.max_concurrent_downloads) == ("native", 5)
    assert images.registry.config_path == "/tmp/certs.d"
    assert server.stream_server_port == "10010"


def test_a_key_nobody_knows_is_named_with_its_line(tmp_path: Path) -> None:
    config = loaded(tmp_path, VERSION_2.replace("stream_server_port", "stream_server_prot"))
    (problem,) = config.problems
    assert problem.warning
    assert "stream_server_prot is not a known key (did you mean stream_server_port?)" in problem.text
    assert problem.origin.line == 6


@pytest.mark.parametrize(
    ("handler", "when"),
    [
        ({}, "soon"),
        ({"runtime_path": "/usr/bin/containerd-shim-runc-v2"}, "soon"),
        ({"runtime_type": "io.containerd.corten.v1"}, "soon"),
        ({"runtime_type": "io.containerd.kata.v2"}, "always"),
        ({"runtime_path": "/opt/containerd-shim-runsc-v1"}, "always"),
        ({"runtime_type": "io.containerd.runc-fp.v1"}, "always"),
        ({"runtime_type": "io.containerd.kata.v2", "pause": "needed"}, "needed"),
    ],
)
def test_runtimes_other_than_runc_have_a_pause_process_from_the_start(handler: dict[str, Any], when: str) -> None:
    """Kata and gVisor make their sandbox of it."""
    assert Handler(**handler).pausing == when
