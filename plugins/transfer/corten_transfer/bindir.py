"""The image verifier `bindir`: programs in a folder that each allow or refuse an image (containerd's protocol).

A program is called as `PROGRAM -name NAME -digest DIGEST -stdin-media-type application/vnd.oci.descriptor.v1+json`,
with the descriptor as JSON on standard input. Exit code 0 allows; standard output is the reason.
https://github.com/containerd/containerd/blob/main/docs/image-verification.md

With `pass_credentials` it finds in `DOCKER_CONFIG` a folder with a docker config that has the credentials by which the
image is pulled, as cosign, notation, crane and skopeo read it; the folder is gone when the program has ended.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from corten.contracts.descriptor import Descriptor
from corten.contracts.transfer import Login
from corten.contracts.verification import AskCredentials, Judgement
from corten.errors import FailedPrecondition, ResourceExhausted, mapped
from corten.oci_image import documents
from corten.pools import Pools
from corten.registry.docker_config import document_for
from corten.values import dataclass

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .programs import Outcome, run

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/vnd.oci.descriptor.v1+json"


@dataclass(frozen=True, slots=True)
class BinDir:
    """Fulfils `ImageVerifier`; `state` is for folders with credentials."""

    folder: Path
    state: Path
    pools: Pools
    max_verifiers: int = 10
    timeout: float = 10.0
    pass_credentials: bool = False

    async def verify(self, name: str, target: Descriptor, ask: AskCredentials) -> Judgement:
        programs = await self.pools.run("verifiers", self._programs)
        if not programs:
            return Judgement(True, f"there are no verifiers in {self.folder}")
        login = await ask() if self.pass_credentials else None
        return await self.pools.run("verifiers", self._judge, programs, name, target, login)

    def _programs(self) -> list[Path]:
        """Raises ResourceExhausted for more than may be asked: one that is not asked has not allowed anything."""
        if not self.folder.exists():
            return []
        with mapped(f"image verifiers in {self.folder}: cannot list them"):
            found = sorted(self.folder.iterdir())
        if 0 <= self.max_verifiers < len(found):
            raise ResourceExhausted(
                f"{self.folder} has {len(found)} verifiers, more than max_verifiers = {self.max_verifiers} "
                "(raise it, or remove some)"
            )
        return found

    def _judge(self, programs: list[Path], name: str, target: Descriptor, login: Login | None) -> Judgement:
        folder = self._with_credentials(name, login) if login else None
        env = {**os.environ, **({"DOCKER_CONFIG": folder} if folder else {})}
        reasons = []
        try:
            for program in programs:
                outcome = self._run(program, name, target, env)
                if outcome.code:
                    return Judgement(False, f"{program.name} (exit code {outcome.code}): {outcome.stdout}")
                reasons.append(f"{program.name}: {outcome.stdout}")
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        return Judgement(True, ", ".join(reasons))

    def _run(self, program: Path, name: str, target: Descriptor, env: Mapping[str, str]) -> Outcome:
        argv = [str(program), "-name", name, "-digest", target.digest, "-stdin-media-type", MEDIA_TYPE]
        payload = f"{json.dumps(documents.as_document(target))}\n".encode()  # a whole line, for `read` in a shell
        outcome = run(argv, payload, env, self.timeout)
        for line in outcome.stderr.splitlines():
            log.debug("image verifier %s: %s", program.name, line)
        if outcome.code < 0:
            raise FailedPrecondition(f"verifier {program}: it was ended by signal {-outcome.code}")
        return outcome

    def _with_credentials(self, name: str, login: Login) -> str:
        """A private folder with a docker config."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(dir=self.state)
        with open(Path(folder) / "config.json", "x", opener=_private) as file:
            json.dump(document_for(name, login), file)
        return folder


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
