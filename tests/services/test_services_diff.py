"""The diff service: differs are asked in the configured order."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from corten import digests
from corten.api.services.diff.v1 import diff_pb2 as pb
from corten.api.types.descriptor_pb2 import Descriptor as DescriptorMessage
from corten.api.types.mount_pb2 import Mount as MountMessage
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.contracts.scope import Scope
from corten.errors import DataLoss, FailedPrecondition, InvalidArgument, Unimplemented
from corten.plugin.types import DIFFER, METADATA, SERVICE
from corten.testing.calls import Attempt, Caller, Outcome, abandon_at_every_step
from corten_services.config import DiffConfig
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from services.doubles import MakeContext, Records, service, started

DIGEST = digests.of(b"layer")


class PickyDiffer:
    """Knows one media type; keeps what it was asked."""

    def __init__(self, media_type: str, error: Exception | None = None) -> None:
        self.media_type, self.error = media_type, error
        self.asked: list[Mapping[str, Any]] = []

    def apply(self, layer: Descriptor, mounts: Sequence[Mount], content: Any, **options: Any) -> Descriptor:
        return self._answer(layer.media_type, {"mounts": list(mounts), "content": content, **options})

    def compare(self, lower: Any, upper: Any, content: Any, *, media_type: str, **options: Any) -> Descriptor:
        return self._answer(media_type, {"lower": lower, "upper": upper, "content": content, **options})

    def _answer(self, media_type: str, asked: Mapping[str, Any]) -> Descriptor:
        self.asked.append(asked)
        if media_type != self.media_type:
            raise Unimplemented(f"media type {media_type}")
        if self.error:
            raise self.error
        return Descriptor("tar", DIGEST, 5, {"by": self.media_type})


def diff_service(make_context: MakeContext, config: DiffConfig, records: Records, **differs: PickyDiffer) -> Any:
    instances = {(DIFFER, id): differ for id, differ in differs.items()}
    failed = {(DIFFER, "broken"): FailedPrecondition("its tool is not installed")}
    ordered = started(
        "io.containerd.service.v1.diff-service", make_context(instances=instances, config=config, failed=failed)
    )
    return service("diff", make_context(instances={(METADATA, "lmdb"): records, (SERVICE, "diff-service"): ordered}))


def apply(media_type: str, **fields: Any) -> pb.ApplyRequest:
    return pb.ApplyRequest(diff=DescriptorMessage(media_type=media_type, digest=DIGEST, size=5), **fields)


async def test_the_first_that_knows_the_type_answers(make_context: MakeContext) -> None:
    records, one, two = Records(), PickyDiffer("erofs"), PickyDiffer("tar")
    config = DiffConfig(default=("one", "broken", "two"), sync_fs=True)
    caller = Caller(diff_service(make_context, config, records, two=two, one=one, unasked=PickyDiffer("x")))
    mounts = [MountMessage(type="bind", source="/a", options=["rw"])]
    request = apply("tar", mounts=mounts, payloads={"key": AnyMessage(type_url="t", value=b"v")})
    applied = (await caller.unary("Apply", request)).applied
    assert (applied.media_type, applied.digest, applied.size, applied.annotations) == ("tar", DIGEST, 5, {"by": "tar"})
    assert len(one.asked) == len(two.asked) == 1
    asked = dict(two.asked[0])
    assert asked.pop("content") is records.content(Scope("default"))
    assert asked == {
        "mounts": [Mount("bind", "/a", options=("rw",))],
        "payloads": {"key": AnyMessage(type_url="t", value=b"v").SerializeToString()},
        "sync_fs": True,
        "progress": None,
    }
    await caller.unary("Apply", apply("erofs"))
    assert len(two.asked) == 1


async def test_when_nobody_knows_the_type_all_are_named(make_context: MakeContext) -> None:
    config = DiffConfig(default=("one", "broken"))
    caller = Caller(diff_service(make_context, config, Records(), one=PickyDiffer("tar"), other=PickyDiffer("x")))
    with pytest.raises(Unimplemented, match=r"one: media type x.*broken is not there: its tool is not installed"):
        await caller.unary("Apply", apply("x"))


async def test_other_errors_end_the_search(make_context: MakeContext) -> None:
    two = PickyDiffer("tar")
    config = DiffConfig(default=("one", "two"))
    first = PickyDiffer("tar", DataLoss("damaged"))
    caller = Caller(diff_service(make_context, config, Records(), one=first, two=two))
    with pytest.raises(DataLoss):
        await caller.unary("Apply", apply("tar"))
    assert not two.asked


async def test_a_difference_is_written(make_context: MakeContext) -> None:
    one = PickyDiffer("gz")
    caller = Caller(diff_service(make_context, DiffConfig(default=("one",)), Records(), one=one))
    request = pb.DiffRequest(
        left=[MountMessage(type="bind", source="/l")],
        right=[MountMessage(type="bind", source="/r")],
        media_type="gz",
        ref="my-ref",
        labels={"a": "b"},
        source_date_epoch=Timestamp(seconds=77),
    )
    assert (await caller.unary("Diff", request)).diff.digest == DIGEST
    asked = dict(one.asked[0])
    del asked["content"]
    assert asked == {
        "lower": [Mount("bind", "/l")],
        "upper": [Mount("bind", "/r")],
        "ref": "my-ref",
        "labels": {"a": "b"},
        "source_date_epoch": 77,
    }


async def test_bad_requests_are_refused(make_context: MakeContext) -> None:
    caller = Caller(diff_service(make_context, DiffConfig(("one",)), Records(), one=PickyDiffer("gz")))
    with pytest.raises(InvalidArgument, match="no diff"):
        await caller.unary("Apply", pb.ApplyRequest())
    with pytest.raises(InvalidArgument, match="digest"):
        await caller.unary("Apply", pb.ApplyRequest(diff=DescriptorMessage(digest="x")))
    with pytest.raises(InvalidArgument, match="timestamp"):
        await caller.unary("Diff", pb.DiffRequest(source_date_epoch=Timestamp(nanos=-1)))


async def test_an_apply_left_at_any_step_is_asked_once_or_not_at_all(make_context: MakeContext) -> None:
    async def fresh() -> Attempt:
        one = PickyDiffer("tar")
        made = diff_service(make_context, DiffConfig(("one",)), Records(), one=one)
        return Attempt(made, "Apply", apply("tar"), state=one)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        assert len(attempt.state.asked) == 1
        assert outcome.error is None

    assert await abandon_at_every_step(fresh, check) >= 1
