"""Messages come back as they went in: translation to the contracts' records and back loses nothing."""

from collections.abc import Mapping
from typing import Any

import pytest
from corten.api.services.containers.v1 import containers_pb2
from corten.api.services.images.v1 import images_pb2
from corten.api.services.leases.v1 import leases_pb2
from corten.api.services.snapshots.v1 import snapshots_pb2
from corten.api.types import descriptor_pb2, mount_pb2, sandbox_pb2
from corten.api.types.task import task_pb2
from corten.contracts.content import ContentInfo, IngestStatus
from corten.contracts.runtime import ProcessState, Status, Stdio
from corten.contracts.snapshots import Kind, SnapshotInfo
from corten.errors import InvalidArgument
from corten.messages import containers, content, images, leases, sandboxes, snapshots, tasks, values
from corten_services.paging import pages
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

texts = st.text(st.characters(codec="utf-8"), max_size=20)
labels = st.dictionaries(texts, texts, max_size=4)
anys = st.builds(lambda url, value: AnyMessage(type_url=url, value=value), texts, st.binary(max_size=20))
any_maps = st.dictionaries(texts, anys, max_size=3)
sizes = st.integers(0, 2**63 - 1)
times = st.integers(1, 4_000_000_000 * values.SECOND)


def messages(kind: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Messages in which every field may also be missing."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: kind(**given))


descriptors = messages(descriptor_pb2.Descriptor, media_type=texts, digest=texts, size=sizes, annotations=labels)
mounts = messages(mount_pb2.Mount, type=texts, source=texts, target=texts, options=st.lists(texts, max_size=3))


@given(
    messages(
        containers_pb2.Container,
        id=texts,
        labels=labels,
        image=texts,
        runtime=messages(containers_pb2.Container.Runtime, name=texts, options=anys),
        spec=anys,
        snapshotter=texts,
        snapshot_key=texts,
        extensions=any_maps,
        sandbox=texts,
    )
)
def test_containers(message: containers_pb2.Container) -> None:
    message.runtime.SetInParent()
    assert containers.container_message(containers.container(message)) == message


@given(
    messages(
        sandbox_pb2.Sandbox,
        sandbox_id=texts,
        runtime=messages(sandbox_pb2.Sandbox.Runtime, name=texts, options=anys),
        spec=anys,
        labels=labels,
        extensions=any_maps,
        sandboxer=texts,
    )
)
def test_sandboxes(message: sandbox_pb2.Sandbox) -> None:
    message.runtime.SetInParent()
    assert sandboxes.sandbox_message(sandboxes.sandbox(message)) == message


@given(messages(images_pb2.Image, name=texts, labels=labels, target=descriptors))
def test_images(message: images_pb2.Image) -> None:
    message.target.SetInParent()
    assert images.image_message(images.image(message)) == message


@given(messages(leases_pb2.Resource, id=texts, type=texts))
def test_resources(message: leases_pb2.Resource) -> None:
    assert leases.resource_message(leases.resource(message)) == message


@given(st.lists(mounts, max_size=4))
def test_mounts(wanted: list[mount_pb2.Mount]) -> None:
    assert values.mount_messages(values.mounts(wanted)) == wanted


@given(st.one_of(times, times.map(lambda value: -value)))
def test_times(nanoseconds: int) -> None:
    message = values.timestamp(nanoseconds)
    assert message is not None
    assert values.nanoseconds(message) == nanoseconds


def test_no_time_is_an_unset_field() -> None:
    assert values.timestamp(0) is None


@pytest.mark.parametrize("nanos", [-1, 10**9])
def test_times_out_of_their_second_are_refused(nanos: int) -> None:
    with pytest.raises(InvalidArgument, match="timestamp"):
        values.nanoseconds(Timestamp(seconds=1, nanos=nanos))


@given(texts, sizes, times, times, labels)
def test_blobs(digest: str, size: int, created: int, updated: int, marks: Mapping[str, str]) -> None:
    message = content.info_message(ContentInfo(digest, size, created, updated, marks))
    assert (message.digest, message.size, dict(message.labels)) == (digest, size, marks)
    assert values.nanoseconds(message.created_at) == created
    assert values.nanoseconds(message.updated_at) == updated


@given(texts, sizes, sizes, texts)
def test_ingests(ref: str, offset: int, total: int, expected: str) -> None:
    message = content.status_message(IngestStatus(ref, offset, total, expected))
    assert (message.ref, message.offset, message.total, message.expected) == (ref, offset, total, expected)
    assert not message.HasField("started_at")


@given(st.sampled_from(Kind), texts, texts, labels)
def test_snapshots(kind: Kind, name: str, parent: str, marks: Mapping[str, str]) -> None:
    message = snapshots.info_message(SnapshotInfo(name, kind, parent, labels=marks))
    assert (message.name, message.parent) == (name, parent)
    assert snapshots_pb2.Kind.Name(message.kind).lower() == kind
    assert snapshots.info(message) == SnapshotInfo(name, kind, parent, labels=dict(marks))


@given(st.sampled_from(Status), st.integers(0, 2**32 - 1), st.booleans())
def test_processes(status: Status, exit_status: int, terminal: bool) -> None:
    state = ProcessState("c", "e", 7, status, Stdio("i", "o", "e", terminal), exit_status, 5)
    message = tasks.process_message(state)
    assert task_pb2.Status.Name(message.status).lower() == status
    assert (message.id, message.exit_status, message.exited_at.nanos) == ("e", exit_status, 5)
    assert tasks.stdio(message) == state.stdio


@given(st.lists(st.integers(0, 300), max_size=30), st.integers(1, 400))
def test_pages_hold_everything_in_order_and_fit(sizes: list[int], limit: int) -> None:
    items = [leases_pb2.Resource(id="x" * size, type=str(number)) for number, size in enumerate(sizes)]
    made = list(pages(items, limit))
    assert [item for page in made for item in page] == items
    assert all(len(page) == 1 or sum(item.ByteSize() for item in page) <= limit for page in made)
    assert all(made)
