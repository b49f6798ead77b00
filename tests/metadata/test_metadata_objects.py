"""The objects of the store: the conformance suite, and what is special about this implementation."""

import pytest
from corten.contracts.objects import Namespace, Resource
from corten.contracts.scope import Scope
from corten.errors import FailedPrecondition, NotFound, ResourceExhausted
from corten.testing.content import checks as content_checks
from corten.testing.metadata import CHECKS, container, image
from metadata.doubles import NS, Bench


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_store_keeps_the_contract(name: str, bench: Bench) -> None:
    CHECKS[name](bench.store)


@pytest.mark.parametrize("name", sorted(content_checks(labels=True)))
def test_view_of_content_keeps_the_contract(name: str, bench: Bench) -> None:
    content_checks(labels=True)[name](bench.blobs())


def test_everything_is_there_after_a_restart(bench: Bench) -> None:
    digest = bench.put(b"abc", labels={"a": "1"})
    made = [bench.store.images(NS).create(image(a="1")), bench.store.containers(NS).create(container(b="2"))]
    bench.store.leases.create("ns", "l")
    bench.store.leases.add("ns", "l", Resource(digest, "content"))
    bench.committed("base")
    bench.reopen()
    assert [bench.store.images(NS).get("busybox"), bench.store.containers(NS).get("c1")] == made
    assert bench.store.leases.resources("ns", "l") == [Resource(digest, "content")]
    assert bench.blobs().info(digest).labels == {"a": "1"}
    assert bench.snapshots().stat("base").name == "base"


def test_leases_of_a_namespace_have_a_bound(bench: Bench) -> None:
    leases = bench.store.leases
    leases.create("ns", "before")
    bench.max_leases = 3
    bench.reopen()
    leases = bench.store.leases
    leases.create("ns", "a")
    leases.create("ns", "b", {"containerd.io/gc.expire": "2001-01-01T00:00:00Z"})
    with pytest.raises(ResourceExhausted, match="has 3 leases"):
        leases.create("ns", "c")
    leases.create("other", "c")
    bench.store.collect()
    leases.create("ns", "c")
    leases.delete("ns", "a")
    leases.create("ns", "d")
    with pytest.raises(ResourceExhausted):
        leases.create("ns", "e")


def test_events_follow_each_change_that_succeeded(bench: Bench) -> None:
    bench.store.namespaces.create(Namespace("ns", {"a": "1"}))
    bench.store.namespaces.update(Namespace("ns", {"a": "2"}))
    made = bench.store.images(NS).create(image())
    bench.store.images(NS).update(made)
    bench.store.images(NS).delete("busybox")
    bench.store.containers(NS).create(container(a="1"))
    bench.store.containers(NS).update(container(a="2"), ["labels"])
    bench.store.containers(NS).delete("c1")
    for call in (bench.store.images(NS).delete, bench.store.containers(NS).delete):
        with pytest.raises(NotFound):
            call("none")
    digest = bench.put(b"abc")
    bench.blobs().delete(digest)
    bench.committed("base")
    bench.snapshots().remove("base")
    bench.store.namespaces.delete("ns")
    assert bench.exchange.topics == [
        "/namespaces/create", "/namespaces/update", "/images/create", "/images/update", "/images/delete",
        "/containers/create", "/containers/update", "/containers/delete", "/content/create", "/content/delete",
        "/snapshot/prepare", "/snapshot/commit", "/snapshot/remove", "/namespaces/delete",
    ]  # fmt: skip
    assert {envelope.namespace for envelope in bench.exchange.envelopes} == {"ns"}
    created = bench.exchange.messages[5]
    assert (created.id, created.runtime.name, created.runtime.options.type_url) == ("c1", "io.containerd.runc.v2", "o")
    assert bench.exchange.messages[8].size == 3


def test_refusal_to_delete_a_namespace_lists_what_is_left(bench: Bench) -> None:
    bench.put(b"abc")
    bench.committed("base")
    with pytest.raises(FailedPrecondition, match=r"blobs, snapshots on 'memory' snapshotter"):
        bench.store.namespaces.delete("ns")


def test_deleted_namespace_leaves_no_ingest_behind(bench: Bench) -> None:
    with bench.blobs().writer("half") as writer:
        writer.write(b"abc")
    bench.store.namespaces.delete("ns")
    bench.store.collect()
    assert bench.content.statuses() == []
    assert bench.blobs(Scope("ns")).statuses() == []
