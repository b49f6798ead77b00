"""Bad input over the wire gets a clear error of the right class, and loses nothing."""

from collections.abc import AsyncIterator

import pytest
from corten.api.nri.v1alpha1 import nri_pb2
from corten.api.services.containers.v1 import containers_pb2
from corten.api.services.content.v1 import content_pb2
from corten.api.services.images.v1 import images_pb2
from corten.api.services.leases.v1 import leases_pb2
from corten.api.services.namespaces.v1 import namespace_pb2
from corten.api.services.snapshots.v1 import snapshots_pb2
from corten.api.services.tasks.v1 import tasks_pb2
from corten.api.services.version.v1 import version_pb2
from corten.errors import (
    AlreadyExists,
    CortenError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from corten.wire.channel import Channel
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from nodes import Node
from peers import Ctr

pytestmark = pytest.mark.integration

DIGEST = "sha256:" + "a" * 64


def service(module: object, name: str) -> ServiceDescriptor:
    return module.DESCRIPTOR.services_by_name[name]  # type: ignore[attr-defined, no-any-return]


IMAGES = service(images_pb2, "Images")
CONTENT = service(content_pb2, "Content")
SNAPSHOTS = service(snapshots_pb2, "Snapshots")
CONTAINERS = service(containers_pb2, "Containers")
NAMESPACES = service(namespace_pb2, "Namespaces")
LEASES = service(leases_pb2, "Leases")
TASKS = service(tasks_pb2, "Tasks")
VERSION = service(version_pb2, "Version")

Call = tuple[ServiceDescriptor, str, Message]


def within(ctr: Ctr) -> dict[str, str]:
    """The headers of a call in the test's namespace."""
    return {"containerd-namespace": ctr.namespace}


def image(name: str, digest: str = DIGEST) -> images_pb2.Image:
    return images_pb2.Image(name=name, target={"media_type": "m", "digest": digest, "size": 1})


WRONG: list[tuple[str, Call, type[CortenError]]] = [
    ("no image name", (IMAGES, "Create", images_pb2.CreateImageRequest(image=image(""))), InvalidArgument),
    ("image digest", (IMAGES, "Create", images_pb2.CreateImageRequest(image=image("x", "sha256:zz"))), InvalidArgument),
    ("unknown image", (IMAGES, "Get", images_pb2.GetImageRequest(name="nowhere")), NotFound),
    ("image filter", (IMAGES, "List", images_pb2.ListImagesRequest(filters=["name=="])), InvalidArgument),
    ("filter syntax", (IMAGES, "List", images_pb2.ListImagesRequest(filters=["name~=["])), InvalidArgument),
    ("digest word", (CONTENT, "Info", content_pb2.InfoRequest(digest="hello")), InvalidArgument),
    ("digest traversal", (CONTENT, "Info", content_pb2.InfoRequest(digest="sha256:../../x")), InvalidArgument),
    ("unknown digest", (CONTENT, "Info", content_pb2.InfoRequest(digest=DIGEST)), NotFound),
    ("no ref", (CONTENT, "Abort", content_pb2.AbortRequest(ref="")), CortenError),
    ("unknown ref", (CONTENT, "Status", content_pb2.StatusRequest(ref="nowhere")), NotFound),
    (
        "unknown snapshotter",
        (SNAPSHOTS, "Stat", snapshots_pb2.StatSnapshotRequest(snapshotter="tapes", key="x")),
        InvalidArgument,
    ),
    ("unknown key", (SNAPSHOTS, "Stat", snapshots_pb2.StatSnapshotRequest(snapshotter="overlayfs", key="x")), NotFound),
    (
        "unknown parent",
        (SNAPSHOTS, "Prepare", snapshots_pb2.PrepareSnapshotRequest(snapshotter="overlayfs", key="k", parent="p")),
        NotFound,
    ),
    (
        "container id",
        (CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container={"id": "../x"})),
        InvalidArgument,
    ),
    (
        "container id length",
        (CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container={"id": "x" * 100})),
        InvalidArgument,
    ),
    (
        "no runtime",
        (CONTAINERS, "Create", containers_pb2.CreateContainerRequest(container={"id": "x"})),
        InvalidArgument,
    ),
    ("unknown container", (CONTAINERS, "Get", containers_pb2.GetContainerRequest(id="x")), NotFound),
    (
        "namespace name",
        (NAMESPACES, "Create", namespace_pb2.CreateNamespaceRequest(namespace={"name": "a b"})),
        InvalidArgument,
    ),
    (
        "unknown namespace",
        (NAMESPACES, "Delete", namespace_pb2.DeleteNamespaceRequest(name="nowhere-at-all")),
        NotFound,
    ),
    ("unknown lease", (LEASES, "Delete", leases_pb2.DeleteRequest(id="nowhere")), NotFound),
    ("task of no container", (TASKS, "Create", tasks_pb2.CreateTaskRequest(container_id="x")), NotFound),
    ("unknown task", (TASKS, "Get", tasks_pb2.GetRequest(container_id="x")), NotFound),
    ("wait for nobody", (TASKS, "Wait", tasks_pb2.WaitRequest(container_id="x")), NotFound),
]


@pytest.mark.parametrize(("call", "error"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
async def test_wrong_requests_are_named(node: Node, ctr: Ctr, call: Call, error: type[CortenError]) -> None:
    descriptor, method, request = call
    async with Channel(node.address) as channel:
        with pytest.raises(error) as caught:
            await channel.unary(
                descriptor.methods_by_name[method],
                request,
                metadata=within(ctr),
                timeout=10,
            )
    assert len(caught.value.message) > 8


@pytest.mark.parametrize("length", [512, 4096, 32768])
async def test_long_image_names_are_kept_whole_and_in_order(node: Node, ctr: Ctr, length: int) -> None:
    """Two names alike in all but the last letter, and one that begins the same."""
    stem = "n" * (length - 1)
    names = [f"{stem}a", f"{stem}b", stem[: length // 2]]
    headers = within(ctr)
    async with Channel(node.address) as channel:
        for name in names:
            request = images_pb2.CreateImageRequest(image=image(name))
            await channel.unary(IMAGES.methods_by_name["Create"], request, metadata=headers)
            with pytest.raises(AlreadyExists):
                await channel.unary(IMAGES.methods_by_name["Create"], request, metadata=headers)
        reply = await channel.unary(IMAGES.methods_by_name["List"], images_pb2.ListImagesRequest(), metadata=headers)
        assert [i.name for i in reply.images] == sorted(names)
        for name in names:
            await channel.unary(
                IMAGES.methods_by_name["Delete"], images_pb2.DeleteImageRequest(name=name), metadata=headers
            )


async def test_labels_have_a_limit_that_is_named(node: Node, ctr: Ctr) -> None:
    request = images_pb2.CreateImageRequest(image=image("x"))
    request.image.labels["k"] = "v" * 4096
    async with Channel(node.address) as channel:
        with pytest.raises(InvalidArgument, match="4096"):
            await channel.unary(IMAGES.methods_by_name["Create"], request, metadata=within(ctr))


async def test_no_namespace_is_said_so(node: Node) -> None:
    async with Channel(node.address) as channel:
        with pytest.raises(FailedPrecondition, match="namespace"):
            await channel.unary(IMAGES.methods_by_name["List"], images_pb2.ListImagesRequest())


async def test_a_field_mask_that_does_not_exist(node: Node, ctr: Ctr) -> None:
    headers = within(ctr)
    async with Channel(node.address) as channel:
        create = images_pb2.CreateImageRequest(image=image("x"))
        await channel.unary(IMAGES.methods_by_name["Create"], create, metadata=headers)
        update = images_pb2.UpdateImageRequest(image=image("x"), update_mask={"paths": ["colour"]})
        with pytest.raises(InvalidArgument, match="colour"):
            await channel.unary(IMAGES.methods_by_name["Update"], update, metadata=headers)


async def test_an_unknown_method_and_an_oversized_message(node: Node, ctr: Ctr) -> None:
    request = images_pb2.CreateImageRequest(image=image("x" * (17 << 20)))
    async with Channel(node.address, max_message=64 << 20) as channel:
        with pytest.raises((ResourceExhausted, InvalidArgument)):
            await channel.unary(IMAGES.methods_by_name["Create"], request, metadata=within(ctr))
        await channel.unary(VERSION.methods_by_name["Version"], Empty())
        foreign = nri_pb2.DESCRIPTOR.services_by_name["Runtime"]
        with pytest.raises(Unimplemented, match="nri"):
            await channel.unary(foreign.methods_by_name["RegisterPlugin"], nri_pb2.RegisterPluginRequest())


async def test_a_blob_of_wrong_size_or_digest_is_not_stored(node: Node, ctr: Ctr) -> None:
    headers = within(ctr)

    async def wrong(total: int, expected: str) -> AsyncIterator[content_pb2.WriteContentRequest]:
        yield content_pb2.WriteContentRequest(
            action=content_pb2.WriteAction.COMMIT, ref="r", total=total, expected=expected, data=b"hello"
        )

    async with Channel(node.address) as channel:
        for total, expected in ((4, ""), (5, DIGEST)):
            with pytest.raises((FailedPrecondition, InvalidArgument)):
                async for _ in channel.bidi(CONTENT.methods_by_name["Write"], wrong(total, expected), metadata=headers):
                    pass
            await channel.unary(CONTENT.methods_by_name["Abort"], content_pb2.AbortRequest(ref="r"), metadata=headers)
    assert ctr("content", "ls", "-q") == ""
