"""buildkitd with cortend as its worker: builds of every kind come out right, also over a kill of cortend.

There is no Debian package of it: CORTEN_BUILDKITD names the program, buildctl lies beside it.
"""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon import Daemon, remove_cgroups, running_daemon
from peers import Ctr, stop, wait_until

BUILDKITD = os.environ.get("CORTEN_BUILDKITD", "")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not BUILDKITD, reason="no CORTEN_BUILDKITD in the environment"),
    pytest.mark.xdist_group("buildkit"),
]
NAMESPACE = f"build-{os.getpid()}"
DOCKERFILE = """\
FROM {base} AS first
RUN echo made > /made && ln -s /made /link && mkdir /folder
RUN --mount=type=cache,target=/cache echo line >> /cache/file && cp /cache/file /cached
RUN --mount=type=secret,id=word cp /run/secrets/word /told
FROM {base}
COPY --from=first /made /cached /told /out/
COPY context /context
RUN rm /bin/wc
CMD ["cat", "/out/made", "/context"]
"""
CONFIG = """\
root = "{folder}/root"
[grpc]
  address = ["unix://{folder}/b.sock"]
[worker.oci]
  enabled = false
[worker.containerd]
  enabled = true
  address = "{address}"
  namespace = "{namespace}"
  networkMode = "host"
[registry."{registry}"]
  http = true
"""


@dataclass
class Buildkit:
    """A running buildkitd, and what is built."""

    cortend: Daemon
    folder: Path
    registry: str

    def ctl(self, *args: str) -> str:
        argv = [str(Path(BUILDKITD).parent / "buildctl"), "--addr", f"unix://{self.folder}/b.sock", *args]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def build(self, *args: str) -> str:
        """The log of a build."""
        local = ("--local", f"context={self.folder}/in", "--local", f"dockerfile={self.folder}/in")
        secret = ("--secret", f"id=word,src={self.folder}/in/word")
        return self.ctl("build", "--progress", "plain", "--frontend", "dockerfile.v0", *local, *secret, *args)

    def up(self) -> bool:
        try:
            return bool(self.ctl("debug", "workers"))
        except AssertionError:
            return False


@pytest.fixture(scope="module")
def buildkit(reference: str) -> Iterator[Buildkit]:
    registry = reference.partition("/")[0]
    with running_daemon() as cortend:
        made = Buildkit(cortend, cortend.folder / "buildkit", registry)
        (made.folder / "in").mkdir(parents=True)
        (made.folder / "in" / "Dockerfile").write_text(DOCKERFILE.format(base=reference))
        (made.folder / "in" / "context").write_text("context\n")
        (made.folder / "in" / "word").write_text("hush\n")
        values = {"folder": made.folder, "address": cortend.address, "namespace": NAMESPACE, "registry": registry}
        (made.folder / "config.toml").write_text(CONFIG.format(**values))
        with (made.folder / "log").open("wb") as log:
            process = subprocess.Popen([BUILDKITD, "--config", f"{made.folder}/config.toml"], stdout=log, stderr=log)
            try:
                wait_until(made.up, "buildkitd answers")
                yield made
            finally:
                stop(process)
    remove_cgroups(NAMESPACE)


def test_an_image_that_is_built_runs_and_can_be_pulled(buildkit: Buildkit) -> None:
    name = f"{buildkit.registry}/built:1"
    buildkit.build("--output", f"type=image,name={name},push=true,registry.insecure=true,unpack=true")
    ctr = Ctr(buildkit.cortend.address, NAMESPACE)
    assert ctr("run", "--rm", name, "built") == "made\ncontext\n"
    assert ctr("run", "--rm", name, "built", "cat", "/out/told", "/out/cached") == "hush\nline\n"
    assert ctr.try_("run", "--rm", name, "built", "/bin/wc").returncode != 0


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_layers_are_pushed_as_they_are_asked_for(buildkit: Buildkit, compression: str) -> None:
    name = f"{buildkit.registry}/built:{compression}"
    options = f"compression={compression},force-compression=true,oci-mediatypes=true"
    buildkit.build("--output", f"type=image,name={name},push=true,registry.insecure=true,{options}")
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    index = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    manifest = index["manifests"][0]["digest"] if "manifests" in index else ""
    if manifest:
        argv[-1] = f"docker://{name.rpartition(':')[0]}@{manifest}"
        index = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    ending = {"gzip": ".tar+gzip", "zstd": ".tar+zstd", "uncompressed": ".tar"}[compression]
    assert all(layer["mediaType"].endswith(ending) for layer in index["layers"])


def test_what_is_built_comes_out_as_files_and_archives(buildkit: Buildkit, tmp_path: Path) -> None:
    buildkit.build("--output", f"type=local,dest={tmp_path}/files")
    assert (tmp_path / "files/out/made").read_text() == "made\n"
    buildkit.build("--output", f"type=tar,dest={tmp_path}/root.tar")
    buildkit.build("--output", f"type=oci,dest={tmp_path}/oci.tar")
    with tarfile.open(tmp_path / "root.tar") as root, tarfile.open(tmp_path / "oci.tar") as oci:
        assert "out/made" in root.getnames() and "index.json" in oci.getnames()


def test_a_cache_in_a_registry_spares_the_next_build_the_work(buildkit: Buildkit) -> None:
    where = f"type=registry,ref={buildkit.registry}/cache:1,registry.insecure=true"
    buildkit.build("--export-cache", f"{where},mode=max")
    buildkit.ctl("prune", "--all")
    log = buildkit.build("--import-cache", where, "--output", "type=image,name=example.com/again:1")
    assert log.count(" CACHED") >= 5


def test_builds_go_on_after_a_kill_of_cortend(buildkit: Buildkit) -> None:
    buildkit.build("--output", "type=image,name=example.com/before:1,unpack=true")
    buildkit.cortend.kill()
    buildkit.cortend.start()
    with (buildkit.folder / "in" / "Dockerfile").open("a") as file:
        file.write("RUN echo more > /more\n")
    buildkit.build("--output", "type=image,name=example.com/after:1,unpack=true")
    ctr = Ctr(buildkit.cortend.address, NAMESPACE)
    assert ctr("run", "--rm", "example.com/after:1", "after", "cat", "/more", "/out/made") == "more\nmade\n"
