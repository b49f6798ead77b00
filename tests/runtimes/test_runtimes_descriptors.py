"""An external shim binary gets its three standard streams and nothing of the daemon's, on the daemon's own loop."""

import asyncio
import os
from pathlib import Path

import uvloop
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.zygote.client import Zygote
from corten_runtimes.binary import BinaryShim
from corten_runtimes.config import BinaryConfig
from corten_runtimes.copier import Copier


def test_an_external_shim_gets_no_foreign_descriptors(tmp_path: Path) -> None:
    shim = tmp_path / "containerd-shim-nosy-v1"
    shim.write_text(f"#!/bin/sh\nexec ls -l /proc/$$/fd > {tmp_path}/seen\n")
    shim.chmod(0o755)
    secret = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(secret, True)
    pools = Pools()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_ask(pools, str(shim), tmp_path))
    finally:
        pools.close()
        os.close(secret)
    seen = [line for line in (tmp_path / "seen").read_text().splitlines() if "->" in line]
    foreign = [line for line in seen if int(line.split()[-3]) > 2 and not line.endswith("/fd")]  # that is the listing's
    assert foreign == []
    assert len(seen) >= 3


async def _ask(pools: Pools, shim: str, folder: Path) -> None:
    copier = Copier(Zygote(()), pools, Supervisor(), folder / "copier")  # neither is started
    await BinaryShim(copier, pools, "/g", "/t", BinaryConfig()).plugin_info(shim, None)
