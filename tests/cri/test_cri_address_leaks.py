"""No address leaks, whenever the daemon is killed while pods come and go."""

import asyncio
import random
from contextlib import suppress

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError
from counts import count
from cri.cri_world import Cri, CriNode, until

pytestmark = pytest.mark.integration


def leases(node: CriNode) -> set[str]:
    """The addresses that host-local has given away."""
    folders = [folder for folder in (node.conf.parent / "ipam").glob("*") if folder.is_dir()]
    return {file.name for folder in folders for file in folder.iterdir() if file.name[0].isdigit()}


async def addresses(cri: Cri) -> set[str]:
    """The addresses that pods have; those that are not ready are stopped again, as the kubelet would."""
    found = set()
    for pod in await cri.pods():
        if pod.state == pb.SANDBOX_NOTREADY:
            await cri.stop_pod(pod.id)
        ip = (await cri.pod_status(pod.id)).network.ip
        found |= {ip} if ip else set()
    return found


async def test_addresses_are_those_of_pods_whenever_the_daemon_is_killed(cri: Cri, node: CriNode) -> None:
    await cri.run_pod(cri.networked())
    for number in range(count("daemons killed among pods")):
        moment = random.Random(number).uniform(0, 0.12)
        coming = [asyncio.create_task(cri.run_pod(cri.networked())) for _ in range(3)]
        going = [asyncio.create_task(cri.remove_pod(pod.id)) for pod in (await cri.pods())[1:]]
        await asyncio.sleep(moment)
        await cri.restart(node.daemon.kill)
        for task in (*coming, *going):
            with suppress(CortenError, asyncio.CancelledError):
                await task

        async def match() -> bool:
            had = await addresses(cri)
            return leases(node) == had

        try:
            await until(match, f"killed after {moment:.3f} s: {leases(node)} are leased")
        except (AssertionError, CortenError) as error:
            raise AssertionError(f"{error}\n{node.daemon.log[-4000:]}") from error
    await cri.clear()
    assert leases(node) == set()
