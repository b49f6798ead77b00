"""The services over the real metadata store: namespaces, containers, images, leases, sandboxes, snapshots."""

from pathlib import Path
from typing import Any

import pytest
from corten.api.services.containers.v1 import containers_pb2
from corten.api.services.images.v1 import images_pb2
from corten.api.services.leases.v1 import leases_pb2
from corten.api.services.namespaces.v1 import namespace_pb2
from corten.api.services.sandbox.v1 import sandbox_pb2
from corten.api.services.snapshots.v1 import snapshots_pb2
from corten.api.types.descriptor_pb2 import Descriptor
from corten.api.types.sandbox_pb2 import Sandbox
from corten.contracts.objects import Image
from corten.digests import of
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound
from corten.plugin.hooks import HookRelay, hookimpl
from corten.pools import Pools
from corten.testing.calls import Attempt, Caller, Outcome, abandon_at_every_step
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from services.world import MakeWorld, World

TARGET = Descriptor(media_type="application/vnd.oci.image.manifest.v1+json", digest=of(b"m"), size=1)


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return make_world()


@pytest.fixture
async def caller(world: World) -> Caller:
    return world.caller()


async def ask(caller: Caller, service: str, method: str, request: Message) -> Any:
    return await caller.unary(f"containerd.services.{service}/{method}", request)


CONTAINERS, IMAGES, LEASES = "containers.v1.Containers", "images.v1.Images", "leases.v1.Leases"
NAMESPACES, SANDBOXES, SNAPSHOTS = "namespaces.v1.Namespaces", "sandbox.v1.Store", "snapshots.v1.Snapshots"


def container(id: str = "c", **fields: Any) -> containers_pb2.Container:
    runtime = containers_pb2.Container.Runtime(name="io.containerd.runc.v2", options=AnyMessage(type_url="o"))
    return containers_pb2.Container(id=id, runtime=runtime, spec=AnyMessage(type_url="s", value=b"{}"), **fields)


async def test_namespaces(caller: Caller) -> None:
    wanted = namespace_pb2.Namespace(name="blue", labels={"a": "1", "b": "2"})
    await ask(caller, NAMESPACES, "Create", namespace_pb2.CreateNamespaceRequest(namespace=wanted))
    with pytest.raises(AlreadyExists):
        await ask(caller, NAMESPACES, "Create", namespace_pb2.CreateNamespaceRequest(namespace=wanted))
    got = await ask(caller, NAMESPACES, "Get", namespace_pb2.GetNamespaceRequest(name="blue"))
    assert got.namespace == wanted
    change = namespace_pb2.UpdateNamespaceRequest(
        namespace=namespace_pb2.Namespace(name="blue", labels={"a": "9"}), update_mask=FieldMask(paths=["labels.a"])
    )
    assert (await ask(caller, NAMESPACES, "Update", change)).namespace.labels == {"a": "9", "b": "2"}
    listed = await ask(caller, NAMESPACES, "List", namespace_pb2.ListNamespacesRequest(filter="labels.a==9"))
    assert [each.name for each in listed.namespaces] == ["blue"]
    await ask(caller, NAMESPACES, "Delete", namespace_pb2.DeleteNamespaceRequest(name="blue"))
    with pytest.raises(NotFound):
        await ask(caller, NAMESPACES, "Delete", namespace_pb2.DeleteNamespaceRequest(name="blue"))


async def test_containers_come_back_as_they_went_in(caller: Caller) -> None:
    wanted = container(
        labels={"k": "v"},
        image="i",
        snapshotter="native",
        snapshot_key="s",
        sandbox="pod",
        extensions={"x": AnyMessage(type_url="e", value=b"\x00\xff")},
    )
    made = await ask(caller, CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=wanted))
    assert made.container.created_at.seconds > 0
    got = await ask(caller, CONTAINERS, "Get", containers_pb2.GetContainerRequest(id="c"))
    assert got.container == made.container
    for name in ("created_at", "updated_at"):
        got.container.ClearField(name)
    assert got.container == wanted


async def test_the_runtime_is_told_of_a_new_container_that_may_need_a_shim(caller: Caller, world: World) -> None:
    for id, sandbox in (("c", ""), ("in-a-pod", "pod")):
        wanted = container(id, sandbox=sandbox)
        await ask(caller, CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=wanted))
    with pytest.raises(AlreadyExists):
        await ask(caller, CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=container("c")))
    await world.context.supervisor.close()
    assert world.runtime.prepared == ["io.containerd.runc.v2"]


async def test_containers_are_listed_both_ways(caller: Caller) -> None:
    for number in range(300):
        wanted = container(f"c{number:03}", labels={"odd": str(number % 2)})
        await ask(caller, CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=wanted))
    request = containers_pb2.ListContainersRequest(filters=["labels.odd==1"])
    listed = (await ask(caller, CONTAINERS, "List", request)).containers
    streamed = await caller.replies("ListStream", request)
    assert [each.id for each in listed] == [f"c{number:03}" for number in range(1, 300, 2)]
    assert [each.container for each in streamed] == list(listed)


async def test_containers_are_changed_and_removed(caller: Caller) -> None:
    await ask(caller, CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=container()))
    change = containers_pb2.UpdateContainerRequest(
        container=containers_pb2.Container(id="c", labels={"n": "1"}), update_mask=FieldMask(paths=["labels"])
    )
    changed = (await ask(caller, CONTAINERS, "Update", change)).container
    assert changed.labels == {"n": "1"}
    assert changed.spec.value == b"{}"
    await ask(caller, CONTAINERS, "Delete", containers_pb2.DeleteContainerRequest(id="c"))
    with pytest.raises(NotFound):
        await ask(caller, CONTAINERS, "Get", containers_pb2.GetContainerRequest(id="c"))


def image(name: str = "docker.io/library/a:1", **fields: Any) -> images_pb2.Image:
    return images_pb2.Image(name=name, target=TARGET, **fields)


async def test_images(caller: Caller, world: World) -> None:
    request = images_pb2.CreateImageRequest(image=image(labels={"l": "1"}), source_date_epoch=Timestamp(seconds=7))
    made = (await ask(caller, IMAGES, "Create", request)).image
    assert (made.target, made.created_at) == (TARGET, Timestamp(seconds=7))
    got = await ask(caller, IMAGES, "Get", images_pb2.GetImageRequest(name=made.name))
    assert got.image == made
    change = images_pb2.UpdateImageRequest(image=image(labels={"l": "2"}), update_mask=FieldMask(paths=["labels.l"]))
    assert (await ask(caller, IMAGES, "Update", change)).image.labels == {"l": "2"}
    listed = await ask(caller, IMAGES, "List", images_pb2.ListImagesRequest(filters=[f"name=={made.name}"]))
    assert len(listed.images) == 1
    other = Descriptor(digest=of(b"other"))
    with pytest.raises(NotFound):
        await ask(caller, IMAGES, "Delete", images_pb2.DeleteImageRequest(name=made.name, target=other))
    await ask(caller, IMAGES, "Delete", images_pb2.DeleteImageRequest(name=made.name, target=TARGET))
    assert world.collector.runs == 0


async def test_a_synchronous_delete_collects(caller: Caller, world: World) -> None:
    await ask(caller, IMAGES, "Create", images_pb2.CreateImageRequest(image=image()))
    await ask(caller, IMAGES, "Delete", images_pb2.DeleteImageRequest(name=image().name, sync=True))
    assert world.collector.runs == 1


class Sees:
    """Keeps what the hook `image_pulled` shows it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    @hookimpl
    def image_pulled(self, namespace: str, image: Image) -> None:
        self.seen.append((namespace, image.name))


async def test_new_images_reach_hooks(make_world: MakeWorld) -> None:
    sees, pools = Sees(), Pools()
    hooks = HookRelay(pools)
    hooks.register("io.corten.test.v1.sees", sees)
    world = make_world(hooks=hooks, pools=pools)
    await ask(world.caller(), IMAGES, "Create", images_pb2.CreateImageRequest(image=image()))
    await world.context.supervisor.close()
    assert sees.seen == [("default", image().name)]


async def test_leases(caller: Caller) -> None:
    made = (await ask(caller, LEASES, "Create", leases_pb2.CreateRequest(id="l", labels={"a": "b"}))).lease
    assert made.created_at.seconds > 0
    assert (await ask(caller, LEASES, "Create", leases_pb2.CreateRequest())).lease.id
    resource = leases_pb2.Resource(id=TARGET.digest, type="content")
    await ask(caller, LEASES, "AddResource", leases_pb2.AddResourceRequest(id="l", resource=resource))
    held = await ask(caller, LEASES, "ListResources", leases_pb2.ListResourcesRequest(id="l"))
    assert list(held.resources) == [resource]
    await ask(caller, LEASES, "DeleteResource", leases_pb2.DeleteResourceRequest(id="l", resource=resource))
    assert not (await ask(caller, LEASES, "ListResources", leases_pb2.ListResourcesRequest(id="l"))).resources
    await ask(caller, LEASES, "Delete", leases_pb2.DeleteRequest(id="l", sync=True))
    listed = await ask(caller, LEASES, "List", leases_pb2.ListRequest(filters=["id==l"]))
    assert not listed.leases


async def test_sandboxes(caller: Caller) -> None:
    wanted = Sandbox(
        sandbox_id="pod",
        runtime=Sandbox.Runtime(name="io.containerd.runc.v2", options=AnyMessage(type_url="o")),
        spec=AnyMessage(type_url="s", value=b"1"),
        labels={"a": "1"},
        extensions={"x": AnyMessage(type_url="e")},
        sandboxer="shim",
    )
    await ask(caller, SANDBOXES, "Create", sandbox_pb2.StoreCreateRequest(sandbox=wanted))
    nameless = Sandbox(sandbox_id="pod", runtime=wanted.runtime, extensions={"": AnyMessage(type_url="e")})
    for method, request in (
        ("Create", sandbox_pb2.StoreCreateRequest(sandbox=nameless)),
        ("Update", sandbox_pb2.StoreUpdateRequest(sandbox=nameless)),
    ):
        with pytest.raises(InvalidArgument, match="extension"):
            await ask(caller, SANDBOXES, method, request)
    change = Sandbox(sandbox_id="pod", labels={"a": "2"})
    updated = await ask(caller, SANDBOXES, "Update", sandbox_pb2.StoreUpdateRequest(sandbox=change, fields=["labels"]))
    assert updated.sandbox.labels == {"a": "2"}
    got = (await ask(caller, SANDBOXES, "Get", sandbox_pb2.StoreGetRequest(sandbox_id="pod"))).sandbox
    assert (got.spec, got.runtime, got.extensions, got.sandboxer) == (
        wanted.spec,
        wanted.runtime,
        wanted.extensions,
        "shim",
    )
    assert len((await ask(caller, SANDBOXES, "List", sandbox_pb2.StoreListRequest())).list) == 1
    await ask(caller, SANDBOXES, "Delete", sandbox_pb2.StoreDeleteRequest(sandbox_id="pod"))
    with pytest.raises(NotFound):
        await ask(caller, SANDBOXES, "Get", sandbox_pb2.StoreGetRequest(sandbox_id="pod"))


def prepare(key: str = "k", **fields: Any) -> snapshots_pb2.PrepareSnapshotRequest:
    return snapshots_pb2.PrepareSnapshotRequest(snapshotter="native", key=key, **fields)


async def test_snapshots(caller: Caller) -> None:
    mounts = (await ask(caller, SNAPSHOTS, "Prepare", prepare(labels={"l": "1"}))).mounts
    assert mounts[0].type == "bind"
    request = snapshots_pb2.MountsRequest(snapshotter="native", key="k")
    assert list((await ask(caller, SNAPSHOTS, "Mounts", request)).mounts) == list(mounts)
    (Path(mounts[0].source) / "file").write_text("x" * 5000)
    used = await ask(caller, SNAPSHOTS, "Usage", snapshots_pb2.UsageRequest(snapshotter="native", key="k"))
    assert used.size >= 5000
    commit = snapshots_pb2.CommitSnapshotRequest(snapshotter="native", name="done", key="k", labels={"l": "1"})
    await ask(caller, SNAPSHOTS, "Commit", commit)
    view = snapshots_pb2.ViewSnapshotRequest(snapshotter="native", key="v", parent="done")
    assert "ro" in (await ask(caller, SNAPSHOTS, "View", view)).mounts[0].options
    stat = await ask(caller, SNAPSHOTS, "Stat", snapshots_pb2.StatSnapshotRequest(snapshotter="native", key="v"))
    assert (stat.info.kind, stat.info.parent) == (snapshots_pb2.VIEW, "done")
    pages = await caller.replies(f"containerd.services.{SNAPSHOTS}/List", _list())
    assert sorted((info.name, info.kind) for page in pages for info in page.info) == [
        ("done", snapshots_pb2.COMMITTED),
        ("v", snapshots_pb2.VIEW),
    ]
    info = snapshots_pb2.Info(name="done", labels={"l": "2"})
    change = snapshots_pb2.UpdateSnapshotRequest(
        snapshotter="native", info=info, update_mask=FieldMask(paths=["labels.l"])
    )
    assert (await ask(caller, SNAPSHOTS, "Update", change)).info.labels["l"] == "2"
    with pytest.raises(FailedPrecondition):
        await ask(caller, SNAPSHOTS, "Remove", snapshots_pb2.RemoveSnapshotRequest(snapshotter="native", key="done"))
    for key in ("v", "done"):
        await ask(caller, SNAPSHOTS, "Remove", snapshots_pb2.RemoveSnapshotRequest(snapshotter="native", key=key))
    assert not await caller.replies(f"containerd.services.{SNAPSHOTS}/List", _list())


def _list() -> snapshots_pb2.ListSnapshotsRequest:
    return snapshots_pb2.ListSnapshotsRequest(snapshotter="native")


async def test_namespaces_do_not_see_each_other(world: World) -> None:
    blue, red = world.caller("blue"), world.caller("red")
    await ask(blue, CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=container()))
    await ask(blue, SNAPSHOTS, "Prepare", prepare())
    assert not (await ask(red, CONTAINERS, "List", containers_pb2.ListContainersRequest())).containers
    assert not await red.replies(f"containerd.services.{SNAPSHOTS}/List", _list())
    await ask(red, SNAPSHOTS, "Prepare", prepare())


async def test_what_is_made_under_a_lease_joins_it(world: World) -> None:
    await ask(world.caller(), LEASES, "Create", leases_pb2.CreateRequest(id="l"))
    await ask(world.caller(lease="l"), SNAPSHOTS, "Prepare", prepare())
    held = await ask(world.caller(), LEASES, "ListResources", leases_pb2.ListResourcesRequest(id="l"))
    assert [(each.id, each.type) for each in held.resources] == [("k", "snapshots/native")]


LONG = "x" * 5000
BAD: list[tuple[str, str, Message, str]] = [
    (NAMESPACES, "Create", namespace_pb2.CreateNamespaceRequest(), "no namespace"),
    (NAMESPACES, "Get", namespace_pb2.GetNamespaceRequest(), "name of the namespace"),
    (NAMESPACES, "Delete", namespace_pb2.DeleteNamespaceRequest(), "name of the namespace"),
    (NAMESPACES, "List", namespace_pb2.ListNamespacesRequest(filter="name=="), "filter"),
    (CONTAINERS, "Create", containers_pb2.CreateContainerRequest(), "no container"),
    (CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=container("")), "container id"),
    (CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=container("a/b")), "a/b"),
    (CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=container(labels={"l": LONG})), "4096"),
    (CONTAINERS, "Get", containers_pb2.GetContainerRequest(), "container id"),
    (CONTAINERS, "Delete", containers_pb2.DeleteContainerRequest(), "container id"),
    (CONTAINERS, "List", containers_pb2.ListContainersRequest(filters=["id~=|(|"]), "regular expression"),
    (IMAGES, "Create", images_pb2.CreateImageRequest(), "no image"),
    (IMAGES, "Create", images_pb2.CreateImageRequest(image=images_pb2.Image(target=TARGET)), "name of the image"),
    (IMAGES, "Create", images_pb2.CreateImageRequest(image=images_pb2.Image(name="a")), "digest"),
    (LEASES, "AddResource", leases_pb2.AddResourceRequest(id="l"), "no resource"),
    (SANDBOXES, "Create", sandbox_pb2.StoreCreateRequest(), "no sandbox"),
    (SANDBOXES, "Get", sandbox_pb2.StoreGetRequest(), "sandbox id"),
    (SNAPSHOTS, "Prepare", snapshots_pb2.PrepareSnapshotRequest(key="k"), "name of the snapshotter"),
    (SNAPSHOTS, "Prepare", snapshots_pb2.PrepareSnapshotRequest(snapshotter="floppy", key="k"), "floppy"),
    (SNAPSHOTS, "Prepare", prepare(""), "key of the snapshot"),
    (SNAPSHOTS, "Commit", snapshots_pb2.CommitSnapshotRequest(snapshotter="native", key="k"), "name of the snapshot"),
    (SNAPSHOTS, "Update", snapshots_pb2.UpdateSnapshotRequest(snapshotter="native"), "no info"),
]


@pytest.mark.parametrize(("service", "method", "request_", "words"), BAD, ids=range(len(BAD)))
async def test_bad_requests_are_refused(
    caller: Caller, service: str, method: str, request_: Message, words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words):
        await ask(caller, service, method, request_)


@pytest.mark.parametrize(
    ("service", "method", "request_"),
    [
        (IMAGES, "Get", images_pb2.GetImageRequest()),
        (IMAGES, "Delete", images_pb2.DeleteImageRequest()),
        (LEASES, "Delete", leases_pb2.DeleteRequest()),
        (LEASES, "ListResources", leases_pb2.ListResourcesRequest()),
        (SNAPSHOTS, "Stat", snapshots_pb2.StatSnapshotRequest(snapshotter="native")),
        (SNAPSHOTS, "Mounts", snapshots_pb2.MountsRequest(snapshotter="native")),
        (SNAPSHOTS, "Usage", snapshots_pb2.UsageRequest(snapshotter="native")),
        (SNAPSHOTS, "Remove", snapshots_pb2.RemoveSnapshotRequest(snapshotter="native")),
    ],
)
async def test_nothing_has_the_empty_name(caller: Caller, service: str, method: str, request_: Message) -> None:
    """Clients ask for the snapshot of an image without layers, and for its removal."""
    with pytest.raises(NotFound):
        await ask(caller, service, method, request_)


async def test_a_bad_field_mask_changes_nothing(caller: Caller) -> None:
    await ask(caller, CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container=container()))
    change = containers_pb2.UpdateContainerRequest(
        container=container(image="new"), update_mask=FieldMask(paths=["colour"])
    )
    with pytest.raises(InvalidArgument, match="colour"):
        await ask(caller, CONTAINERS, "Update", change)
    assert not (await ask(caller, CONTAINERS, "Get", containers_pb2.GetContainerRequest(id="c"))).container.image


async def test_calls_need_a_namespace(world: World) -> None:
    nameless = world.caller(namespace="")
    await ask(nameless, NAMESPACES, "List", namespace_pb2.ListNamespacesRequest())
    scoped: list[tuple[str, str, Message]] = [
        (CONTAINERS, "List", containers_pb2.ListContainersRequest()),
        (IMAGES, "Create", images_pb2.CreateImageRequest(image=image())),
        (LEASES, "Create", leases_pb2.CreateRequest()),
        (SANDBOXES, "List", sandbox_pb2.StoreListRequest()),
        (SNAPSHOTS, "Prepare", prepare()),
    ]
    for service_, method, request in scoped:
        with pytest.raises(FailedPrecondition, match="namespace"):
            await ask(nameless, service_, method, request)


MUTATIONS: list[tuple[str, str, Message, type[CortenError]]] = [
    ("namespaces", "Create", namespace_pb2.CreateNamespaceRequest(namespace={"name": "blue"}), AlreadyExists),
    ("containers", "Create", containers_pb2.CreateContainerRequest(container=container()), AlreadyExists),
    ("images", "Create", images_pb2.CreateImageRequest(image=image()), AlreadyExists),
    ("leases", "Create", leases_pb2.CreateRequest(id="l"), AlreadyExists),
    ("sandboxes", "Create", sandbox_pb2.StoreCreateRequest(sandbox=Sandbox(sandbox_id="pod")), AlreadyExists),
    ("snapshots", "Prepare", prepare(), AlreadyExists),
]


@pytest.mark.parametrize(("id", "method", "request_", "again"), MUTATIONS, ids=[row[0] for row in MUTATIONS])
async def test_a_mutation_left_at_any_step_is_done(
    make_world: MakeWorld, id: str, method: str, request_: Message, again: type[CortenError]
) -> None:
    async def fresh() -> Attempt:
        return Attempt(make_world().service(id), method, request_)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        assert outcome.error is None
        with pytest.raises(again):
            await Caller(attempt.service).unary(method, request_)

    assert await abandon_at_every_step(fresh, check) >= 1


LISTS: list[tuple[str, str, Message]] = [
    ("containers", "List", containers_pb2.ListContainersRequest()),
    ("containers", "ListStream", containers_pb2.ListContainersRequest()),
    ("images", "List", images_pb2.ListImagesRequest()),
    ("snapshots", "List", _list()),
]


@pytest.mark.parametrize(("id", "method", "request_"), LISTS, ids=[f"{row[0]}-{row[1]}" for row in LISTS])
async def test_a_list_left_at_any_step_holds_up_nobody(world: World, id: str, method: str, request_: Message) -> None:
    caller = world.caller()
    for number in range(3):
        wanted = containers_pb2.CreateContainerRequest(container=container(f"c{number}"))
        await ask(caller, CONTAINERS, "Create", wanted)
        await ask(caller, IMAGES, "Create", images_pb2.CreateImageRequest(image=image(f"i{number}")))
        await ask(caller, SNAPSHOTS, "Prepare", prepare(f"k{number}"))

    async def fresh() -> Attempt:
        return Attempt(world.service(id), method, request_)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        made = leases_pb2.CreateRequest(id=f"step{outcome.step}")
        await ask(caller, LEASES, "Create", made)

    assert await abandon_at_every_step(fresh, check) >= 1
