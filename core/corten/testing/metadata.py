"""The conformance suite of `corten.contracts.metadata`: plain functions, to be run against any metadata store.

    @pytest.mark.parametrize("name", sorted(CHECKS))
    def test_contract(name, tmp_path):
        CHECKS[name](MyMetadata(tmp_path, content=MemoryContent()))

Each check is given an empty store whose content plugin is empty too, and raises AssertionError when the contract is
broken. The views `content(scope)` and `snapshotter(scope, name)` have suites of their own: run `corten.testing.content`
on the one, that of snapshotters on the other.
"""

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.contracts.metadata import Metadata
from corten.contracts.objects import AnyValue, Container, Image, Namespace, Resource, RuntimeInfo, Sandbox
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound

Check = Callable[[Metadata], None]

NS = Scope("ns")
OTHER = Scope("other")
DIGEST = digests.of(b"abc")
SPEC = AnyValue("types.containerd.io/opencontainers/runtime-spec/1/Spec", b'{"ociVersion":"1.0.2"}')
LONG_NAMES = [f"{'n' * (length - 1)}{end}" for length in (512, 4096, 32768) for end in "ab"]


def fails(error: type[CortenError], call: Callable[..., object], *args: object, **kwargs: object) -> CortenError:
    """Assert that the call raises `error`; returns what was raised."""
    try:
        result = call(*args, **kwargs)
    except error as raised:
        assert raised.message, "an error must say something"
        return raised
    raise AssertionError(f"expected {error.__name__}, got {result!r}")


def container(id: str = "c1", **labels: str) -> Container:
    """A container with every field set."""
    return Container(
        id, labels, "docker.io/library/busybox:latest", RuntimeInfo("io.containerd.runc.v2", AnyValue("o", b"\0")),
        SPEC, "overlayfs", "key", "pod", {"e.x": AnyValue("u", b"v")},
    )  # fmt: skip


def image(name: str = "busybox", **labels: str) -> Image:
    """An image with every field set."""
    return Image(name, Descriptor("application/vnd.oci.image.index.v1+json", DIGEST, 3, {"k": "v"}), labels)


def _namespaces(store: Metadata) -> None:
    made = store.namespaces.create(Namespace("b", {"x": "1", "empty": ""}))
    assert made == Namespace("b", {"x": "1"}) == store.namespaces.get("b")
    store.namespaces.create(Namespace("a"))
    assert [each.name for each in store.namespaces.list()] == ["a", "b"]
    fails(AlreadyExists, store.namespaces.create, Namespace("a"))
    fails(InvalidArgument, store.namespaces.create, Namespace("a b"))
    fails(InvalidArgument, store.namespaces.create, Namespace("c", {"k": "v" * 4096}))
    store.namespaces.delete("a")
    fails(NotFound, store.namespaces.delete, "a")
    assert [each.name for each in store.namespaces.list()] == ["b"]


def _namespace_labels(store: Metadata) -> None:
    assert store.namespaces.get("new") == Namespace("new"), "clients ask before anything is there"
    store.namespaces.create(Namespace("a", {"x": "1", "y": "2"}))
    assert store.namespaces.update(Namespace("a", {"y": "3", "z": "4"}), ["labels.y"]).labels == {"x": "1", "y": "3"}
    assert store.namespaces.update(Namespace("a", {}), ["labels.x"]).labels == {"y": "3"}
    assert store.namespaces.update(Namespace("a", {"n": "5"})).labels == {"n": "5"}
    fails(InvalidArgument, store.namespaces.update, Namespace("a"), ["name"])
    assert store.namespaces.get("a").labels == {"n": "5"}


def _first_object_makes_the_namespace(store: Metadata) -> None:
    store.images(NS).create(image())
    store.leases.create("leased", "l")
    assert [each.name for each in store.namespaces.list()] == ["leased", "ns"]
    fails(AlreadyExists, store.namespaces.create, Namespace("ns"))


def _namespace_with_something_in_it_stays(store: Metadata) -> None:
    store.images(NS).create(image())
    store.containers(NS).create(container())
    said = fails(FailedPrecondition, store.namespaces.delete, "ns").message
    assert "images" in said
    assert "containers" in said
    store.images(NS).delete("busybox")
    store.containers(NS).delete("c1")
    store.leases.create("ns", "l")
    store.namespaces.delete("ns")
    fails(NotFound, store.leases.get, "ns", "l")


def _containers(store: Metadata) -> None:
    containers = store.containers(NS)
    made = containers.create(container(a="1", empty=""))
    assert made.created_at == made.updated_at > 0
    assert made == replace(container(a="1"), created_at=made.created_at, updated_at=made.updated_at)
    assert containers.get("c1") == made
    fails(AlreadyExists, containers.create, container())
    fails(NotFound, containers.get, "c2")
    fails(NotFound, store.containers(OTHER).get, "c1")
    containers.delete("c1")
    fails(NotFound, containers.delete, "c1")
    fails(NotFound, containers.get, "c1")


def _bad_containers(store: Metadata) -> None:
    good = container()
    for bad in (
        replace(good, id=""),
        replace(good, id="../x"),
        replace(good, id="c" * 77),
        replace(good, spec=None),
        replace(good, runtime=RuntimeInfo()),
        replace(good, snapshotter=""),
        replace(good, extensions={"": AnyValue()}),
        replace(good, labels={"k": "v" * 4096}),
    ):
        fails(InvalidArgument, store.containers(NS).create, bad)
    assert list(store.containers(NS).walk()) == []


def _container_updates(store: Metadata) -> None:
    containers = store.containers(NS)
    made = containers.create(container(a="1", b="2"))
    new = replace(made, labels={"a": "9"}, image="other", snapshot_key="key2", spec=AnyValue("s", b"2"), extensions={})
    changed = containers.update(new, ["labels.a", "image"])
    assert (changed.labels, changed.image, changed.spec) == ({"a": "9", "b": "2"}, "other", SPEC)
    assert changed.created_at == made.created_at
    assert changed.updated_at > made.updated_at
    changed = containers.update(replace(new, extensions={"n": AnyValue("t", b"")}), ["extensions.n", "snapshotkey"])
    assert set(changed.extensions) == {"e.x", "n"}
    assert changed.snapshot_key == "key2"
    whole = containers.update(new)
    assert (whole.labels, whole.spec, whole.extensions) == ({"a": "9"}, AnyValue("s", b"2"), {})
    assert containers.get("c1") == whole
    for path in ("id", "snapshotter", "runtime", "created_at", "nonsense"):
        fails(InvalidArgument, containers.update, new, [path])
    fails(InvalidArgument, containers.update, replace(new, snapshotter="native"))
    fails(InvalidArgument, containers.update, replace(new, runtime=RuntimeInfo("other")))
    fails(InvalidArgument, containers.update, replace(new, spec=None))
    fails(NotFound, containers.update, replace(new, id="c2"))
    assert containers.get("c1") == whole, "an update that was refused changed nothing"


def _container_lists(store: Metadata) -> None:
    for id in ("c3", "c1", "c2"):
        store.containers(NS).create(replace(container(id, even=str(id == "c2")), image=f"image-{id}"))
    store.containers(OTHER).create(container("c4"))

    def ids(*filters: str) -> list[str]:
        return [each.id for each in store.containers(NS).walk(filters)]

    assert ids() == ["c1", "c2", "c3"]
    assert ids("id==c1", "image==image-c3") == ["c1", "c3"]
    assert ids("labels.even==True") == ["c2"]
    assert ids("runtime.name==io.containerd.runc.v2,id~=[23]") == ["c2", "c3"]
    fails(InvalidArgument, lambda: ids("id=="))


def _images(store: Metadata) -> None:
    images = store.images(NS)
    made = images.create(image(a="1"))
    assert made == replace(image(a="1"), created_at=made.created_at, updated_at=made.created_at)
    assert images.get("busybox") == made
    fails(AlreadyExists, images.create, image())
    fails(NotFound, images.get, "nginx")
    assert images.create(image("old"), source_date_epoch=17).created_at == 17
    fails(NotFound, images.delete, "busybox", target_digest=digests.of(b"other"))
    images.delete("busybox", target_digest=DIGEST)
    fails(NotFound, images.delete, "busybox")
    good = image("bad")
    for bad in (
        replace(good, name=""),
        replace(good, target=replace(good.target, digest="sha256:12")),
        replace(good, target=replace(good.target, size=0)),
        replace(good, target=replace(good.target, media_type="")),
    ):
        fails(InvalidArgument, images.create, bad)
    assert [each.name for each in images.walk()] == ["old"]


def _image_updates(store: Metadata) -> None:
    images = store.images(NS)
    made = images.create(image(a="1", b="2"))
    target = Descriptor("m", digests.of(b"new"), 9, {"n": "1"})
    new = Image("busybox", target, {"a": "9"})
    assert images.update(new, ["labels.a"]).labels == {"a": "9", "b": "2"}
    assert images.update(new, ["annotations.n"]).target == replace(made.target, annotations={"k": "v", "n": "1"})
    assert images.update(new, ["target"]).target == target
    whole = images.update(replace(new, labels={}), source_date_epoch=5)
    assert whole == Image("busybox", target, {}, made.created_at, 5)
    fails(InvalidArgument, images.update, new, ["name"])
    fails(NotFound, images.update, replace(new, name="nginx"))
    assert images.get("busybox") == whole


def _long_image_names(store: Metadata) -> None:
    images = store.images(NS)
    for name in reversed(LONG_NAMES):
        images.create(image(name, first=name[:3]))
    fails(AlreadyExists, images.create, image(LONG_NAMES[3]))
    assert [each.name for each in images.walk()] == sorted(LONG_NAMES)
    assert images.get(LONG_NAMES[4]).name == LONG_NAMES[4]
    images.delete(LONG_NAMES[4])
    fails(NotFound, images.get, LONG_NAMES[4])
    assert images.get(LONG_NAMES[5]).name == LONG_NAMES[5]
    fails(InvalidArgument, images.create, image("n" * 32769))


def _leases(store: Metadata) -> None:
    made = store.leases.create("ns", "l1", {"a": "1"})
    assert store.leases.get("ns", "l1") == made
    assert made.created_at > 0
    fails(AlreadyExists, store.leases.create, "ns", "l1")
    named = store.leases.create("ns").id
    assert named
    assert {each.id for each in store.leases.list("ns")} == {"l1", named}
    assert [each.id for each in store.leases.list("ns", ["labels.a==1"])] == ["l1"]
    assert store.leases.list("other") == []
    store.leases.delete("ns", "l1")
    fails(NotFound, store.leases.delete, "ns", "l1")
    fails(NotFound, store.leases.get, "ns", "l1")


def _lease_resources(store: Metadata) -> None:
    store.leases.create("ns", "l")
    wanted = [
        Resource(DIGEST, "content"),
        Resource("busybox", "images"),
        Resource("layer-1", "ingests"),
        Resource("key/with/slashes", "snapshots/overlayfs"),
        Resource("k" * 5000, "snapshots/native"),
    ]
    for resource in itertools.chain(reversed(wanted), wanted):
        store.leases.add("ns", "l", resource)
    assert sorted(store.leases.resources("ns", "l"), key=wanted.index) == wanted
    for resource in wanted[1:]:
        store.leases.remove("ns", "l", resource)
    store.leases.remove("ns", "l", wanted[1])
    assert store.leases.resources("ns", "l") == wanted[:1]
    for type in ("", "snapshots", "snapshots/a/b", "content/x", "containers"):
        fails(InvalidArgument, store.leases.add, "ns", "l", Resource(DIGEST, type))
    fails(InvalidArgument, store.leases.add, "ns", "l", Resource("no digest", "content"))
    fails(NotFound, store.leases.add, "ns", "none", wanted[0])
    fails(NotFound, store.leases.resources, "ns", "none")
    store.leases.delete("ns", "l")
    store.leases.create("ns", "l")
    assert store.leases.resources("ns", "l") == [], "a new lease of the same name holds nothing"


def _sandboxes(store: Metadata) -> None:
    given = Sandbox("pod", RuntimeInfo("r", AnyValue("o", b"")), SPEC, "shim", {"a": "1"}, {"e": AnyValue("u", b"v")})
    made = store.sandboxes.create("ns", given)
    assert made == replace(given, created_at=made.created_at, updated_at=made.created_at)
    assert store.sandboxes.get("ns", "pod") == made
    fails(AlreadyExists, store.sandboxes.create, "ns", given)
    fails(InvalidArgument, store.sandboxes.create, "ns", replace(given, id="a/b"))
    changed = store.sandboxes.update("ns", replace(given, labels={"b": "2"}, spec=None), ["labels.b"])
    assert (changed.labels, changed.spec) == ({"a": "1", "b": "2"}, SPEC)
    assert store.sandboxes.update("ns", replace(given, labels={})).labels == {}
    fails(InvalidArgument, store.sandboxes.update, "ns", given, ["sandboxer"])
    fails(InvalidArgument, store.sandboxes.update, "ns", replace(given, runtime=RuntimeInfo("other")))
    assert [each.id for each in store.sandboxes.list("ns", ["id==pod"])] == ["pod"]
    assert store.sandboxes.list("ns", ["id==none"]) == store.sandboxes.list("other") == []
    store.sandboxes.delete("ns", "pod")
    fails(NotFound, store.sandboxes.get, "ns", "pod")
    fails(NotFound, store.sandboxes.delete, "ns", "pod")


def _many_writers(store: Metadata) -> None:
    """Of those that make the same thing one succeeds; different things do not disturb each other."""

    def make(number: int) -> bool:
        store.images(NS).create(image(f"image-{number}"))
        try:
            store.containers(NS).create(container(f"c{number % 5}"))
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(40))) == 5
    assert len(list(store.images(NS).walk())) == 40


def _unknown_snapshotter(store: Metadata) -> None:
    fails(InvalidArgument, store.snapshotter, NS, "no-such-snapshotter")
    assert "no-such-snapshotter" not in store.snapshotters()


def _collection_of_nothing(store: Metadata) -> None:
    store.images(NS).create(image())
    store.containers(NS).create(container())
    store.leases.create("ns", "l")
    assert store.collect().removed == 0
    assert store.images(NS).get("busybox")
    assert store.containers(NS).get("c1")
    assert store.leases.get("ns", "l")


CHECKS: Mapping[str, Check] = {
    check.__name__.removeprefix("_"): check
    for check in (
        _namespaces,
        _namespace_labels,
        _first_object_makes_the_namespace,
        _namespace_with_something_in_it_stays,
        _containers,
        _bad_containers,
        _container_updates,
        _container_lists,
        _images,
        _image_updates,
        _long_image_names,
        _leases,
        _lease_resources,
        _sandboxes,
        _many_writers,
        _unknown_snapshotter,
        _collection_of_nothing,
    )
}
