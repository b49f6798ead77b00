"""What NRI does without a plugin: frames in any pieces, resources and specs there and back."""

import asyncio
from contextvars import Context
from typing import Any

import pytest
from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.errors import FailedPrecondition
from corten.wire.ttrpc.connection import FrameConnection
from corten.wire.ttrpc.frames import REQUEST, Frame, encode
from corten_nri import mux, resources
from corten_nri.apply import adjusted
from corten_nri.claims import Claim, Owners
from corten_nri.merging import merge
from corten_nri.mounts import propagation_of
from corten_nri.turns import Holding
from hypothesis import given
from hypothesis import strategies as st
from nri.world import SPEC


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


Lanes = dict[int, FrameConnection]
Sent = list[tuple[int, bytes]]


def trunk() -> tuple[mux.Trunk, Wire, dict[int, list[Frame]], Lanes]:
    """A trunk with both lanes, what it writes, and what each lane got."""
    got: dict[int, list[Frame]] = {mux.PLUGIN: [], mux.RUNTIME: []}
    lanes = {id: FrameConnection(got[id].append, lambda _: None) for id in got}  # type: ignore[arg-type]
    made, wire = mux.Trunk(lanes), Wire()
    made.connection_made(wire)
    return made, wire, got, lanes


@given(
    messages=st.lists(st.tuples(st.sampled_from([mux.PLUGIN, mux.RUNTIME]), st.binary(max_size=9000)), max_size=6),
    cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
)
def test_messages_arrive_whole_and_in_order_in_whatever_pieces(messages: Sent, cuts: list[int]) -> None:
    async def run() -> None:
        made, wire, got, lanes = trunk()
        for number, (lane, data) in enumerate(messages):
            lanes[lane].send(encode(2 * number + 1, REQUEST, data))
        there, _, arrived, _ = trunk()
        stream, at, turn = b"".join(wire.sent), 0, 0
        while at < len(stream):
            there.data_received(stream[at : at + cuts[turn % len(cuts)]])
            at, turn = at + cuts[turn % len(cuts)], turn + 1
        for lane, frames in arrived.items():
            assert [frame.data for frame in frames] == [data for to, data in messages if to == lane]
        assert not any(got.values()) and made is not there

    asyncio.run(run())


async def test_a_message_goes_as_the_readers_of_other_runtimes_can_take_it() -> None:
    """Go's side reads with a buffer of 4,096 bytes, or one of what is missing of the message."""
    _, wire, _, lanes = trunk()
    lanes[mux.PLUGIN].send(encode(1, REQUEST, b"x" * 100_000))
    sizes = [mux.HEADER.unpack_from(part)[1] for part in wire.sent]
    assert sizes == [4096, 100_010 - 4096]


@given(noise=st.binary(min_size=1, max_size=300))
def test_noise_ends_the_connection_or_waits_for_more(noise: bytes) -> None:
    async def run() -> None:
        made, wire, got, _ = trunk()
        made.data_received(noise)
        made.data_received(b"\xff" * 16)
        assert wire.aborted or not any(got.values())

    asyncio.run(run())


RESOURCES: dict[str, Any] = {
    "memory": {"limit": 5, "reservation": 0, "swap": -1, "kernel": 3, "kernelTCP": 4, "swappiness": 60,
               "disableOOMKiller": True, "useHierarchy": False},
    "cpu": {"shares": 2, "quota": -1, "period": 100, "realtimeRuntime": 1, "realtimePeriod": 2, "cpus": "0-1",
            "mems": "0"},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}],
    "unified": {"memory.high": "1"}, "pids": {"limit": -1}, "blockioClass": "slow", "rdtClass": "gold",
}  # fmt: skip


def test_resources_there_and_back() -> None:
    assert resources.document(resources.message(RESOURCES)) == RESOURCES
    assert resources.document(resources.message(None)) == resources.document(pb.LinuxResources()) == {}


def test_what_nri_has_no_words_for_stays() -> None:
    spec = {"linux": {"resources": {"memory": {"limit": 1, "checkBeforeUpdate": True}, "blockIO": {"weight": 5}}}}
    wanted = pb.ContainerAdjustment()
    wanted.linux.resources.memory.limit.value = 9
    made = adjusted(spec, wanted)["linux"]["resources"]
    assert made == {"memory": {"limit": 9, "swap": 9, "checkBeforeUpdate": True}, "blockIO": {"weight": 5}}


def test_nothing_wanted_changes_nothing() -> None:
    assert adjusted(SPEC, pb.ContainerAdjustment()) == SPEC


def test_a_field_that_was_taken_away_belongs_to_who_took_it() -> None:
    owners = Owners()
    owners.take("c", Claim(pb.Env, "X"), "10-a")
    owners.take("c", Claim(pb.Env, "X", clears=True), "20-b")
    assert owners.of("c", pb.Env) == {"X": "20-b"}
    owners.take("c", Claim(pb.Env, "Y", clears=True, sets=False), "20-b")
    with pytest.raises(FailedPrecondition, match="'30-c' and '20-b' both set Env Y"):
        owners.take("c", Claim(pb.Env, "Y"), "30-c")
    owners.take("other", Claim(pb.Env, "Y"), "30-c")  # of another container


def test_the_whole_has_what_the_last_left_of_it() -> None:
    whole = pb.ContainerAdjustment(annotations={"a": "1"}, env=[pb.KeyValue(key="X", value="1")], args=["a"])
    change = pb.ContainerAdjustment(annotations={"-a": ""}, env=[pb.KeyValue(key="-X")], args=["", "b"])
    merge(whole, change)
    assert dict(whole.annotations) == {"-a": ""} and list(whole.args) == ["b"]
    assert [each.key for each in whole.env] == ["-X"]


def test_propagation_is_that_of_the_mount_a_path_lies_on() -> None:
    assert propagation_of("/") == propagation_of("/usr/../") and isinstance(propagation_of("/proc/self"), tuple)


async def test_who_holds_may_hold_again_while_another_waits_to_be_alone() -> None:
    holding, order = Holding(), []

    async def alone() -> None:
        async with holding.alone():
            order.append("alone")

    async with holding.shared():
        waiting = asyncio.ensure_future(alone())
        await asyncio.sleep(0)
        async with asyncio.timeout(5), holding.shared():
            order.append("within")
        later = asyncio.create_task(shared(holding, order), context=Context())  # a task not made by who holds
        await asyncio.sleep(0)
        assert order == ["within"], "who comes later waits for the one that waits to be alone"
    await asyncio.gather(waiting, later)
    assert order == ["within", "alone", "later"]


async def shared(holding: Holding, order: list[str]) -> None:
    async with holding.shared():
        order.append("later")
