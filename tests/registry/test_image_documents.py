"""Documents, labels and plans of images, against the specification's own numbers and against anything else."""

import json

import pytest
from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import CortenError, InvalidArgument, ResourceExhausted
from corten.oci_image import documents, gc_labels, media_types, unpack
from corten.platforms import Platform
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mediaType", "digest", "size", "config", "layers", "manifests", "rootfs", "diff_ids",
                             "platform", "os", "architecture", "annotations", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_json_parses_or_is_refused(document: object) -> None:
    data = json.dumps(document).encode()
    for call in (
        lambda: documents.index(data, "", "it"),
        lambda: documents.manifest(data, media_types.OCI_MANIFEST, "it"),
        lambda: documents.config(data, "it"),
        lambda: documents.descriptor(document, "it"),
    ):
        try:
            call()
        except CortenError as error:
            assert isinstance(error, InvalidArgument | ResourceExhausted)


@given(st.binary(max_size=100))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        documents.config(data, "it")
    except InvalidArgument:
        pass


def test_size_and_number_are_bounded() -> None:
    with pytest.raises(ResourceExhausted, match="allowed"):
        documents.config(b" " * (documents.MAX_SIZE + 1), "it")
    many = json.dumps({"rootfs": {"diff_ids": ["x"] * (documents.MAX_LAYERS + 1)}}).encode()
    with pytest.raises(ResourceExhausted, match="allowed"):
        documents.config(many, "it")


def test_chain_ids_are_those_of_the_specification() -> None:
    a, b, c = (digests.of(text) for text in (b"a", b"b", b"c"))
    ab = digests.of(f"{a} {b}".encode())
    assert unpack.chain_ids([a, b, c]) == [a, ab, digests.of(f"{ab} {c}".encode())]
    assert unpack.chain_id([]) == ""


def test_the_plan_of_unpacking() -> None:
    marks = {"containerd.io/snapshot/remote/x": "y", "other": "z"}
    layers = [Descriptor(media_types.OCI_LAYER, digests.of(bytes([n])), n, marks) for n in range(3)]
    diff_ids = [digests.of(bytes([n, n])) for n in range(3)]
    steps = unpack.plan(layers, diff_ids)
    chain = unpack.chain_ids(diff_ids)
    assert [step.parent for step in steps] == ["", *chain[:2]]
    assert [step.chain_id for step in steps] == chain
    assert all(step.key.startswith("extract-") and step.key.endswith(f" {step.chain_id}") for step in steps)
    assert steps[0].labels == {
        "containerd.io/snapshot/remote/x": "y",
        "containerd.io/snapshot.ref": chain[0],
        "containerd.io/snapshot/diff-id": diff_ids[0],
    }
    assert steps[1].layer_labels == {"containerd.io/uncompressed": diff_ids[1]}
    assert len({step.key for step in (*steps, *unpack.plan(layers, diff_ids))}) == 6
    with pytest.raises(InvalidArgument, match="3 layers, but its config has 2 diff ids"):
        unpack.plan(layers, diff_ids[:2])
    besides = Descriptor("application/vnd.example.parts+json", digests.of(b"parts"), 5)
    assert [step.layer for step in unpack.plan([layers[0], besides, layers[1]], diff_ids[:2])] == layers[:2]
    assert len(unpack.plan([layers[0], besides], diff_ids[:2])) == 2, "its maker may have own types of layers"


def test_features_of_platforms() -> None:
    entry = {"mediaType": media_types.OCI_MANIFEST, "digest": digests.of(b"x"), "size": 1}
    wanted = {"os": "linux", "architecture": "amd64", "os.features": ["erofs"]}
    data = documents.dump({"manifests": [entry | {"platform": wanted}]})
    (found,) = documents.index(data, "", "it").entries
    assert found.platform == Platform("linux", "amd64", os_features=("erofs",))
    assert documents.as_document(found.descriptor, found.platform)["platform"] == wanted
    for wrong in ("erofs", [1], ["a"] * 65):
        with pytest.raises(CortenError):
            documents.index(documents.dump({"manifests": [entry | {"platform": {"os.features": wrong}}]}), "", "it")


def test_labels_of_children_count_within_their_kind() -> None:
    def child(media_type: str, text: bytes) -> Descriptor:
        return Descriptor(media_type, digests.of(text), 1)

    children = [
        child(media_types.DOCKER_CONFIG, b"c"),
        child(media_types.OCI_LAYER_GZIP, b"0"),
        child(media_types.DOCKER_LAYER_GZIP, b"1"),
        child("application/x", b"x"),
    ]
    assert gc_labels.of_children(children) == {
        "containerd.io/gc.ref.content.config": digests.of(b"c"),
        "containerd.io/gc.ref.content.l.0": digests.of(b"0"),
        "containerd.io/gc.ref.content.l.1": digests.of(b"1"),
        "containerd.io/gc.ref.content.0": digests.of(b"x"),
    }


def test_sources_are_gathered() -> None:
    key = "containerd.io/distribution.source.docker.io"
    assert gc_labels.of_source("docker.io", "library/a") == {key: "library/a"}
    assert gc_labels.of_source("docker.io", "b/a", {key: "c/a,a/a", "x": "y"}) == {key: "a/a,b/a,c/a"}
    assert gc_labels.of_source("docker.io", "a/a", {key: "a/a"}) == {key: "a/a"}
    for host in ("[::1]:5000", "[::1]"):
        assert gc_labels.of_source(host, "a") == {"containerd.io/distribution.source.::1": "a"}
    assert gc_labels.of_source("localhost:5000", "a") == {"containerd.io/distribution.source.localhost": "a"}
    assert gc_labels.of_source("docker.io", "z", {key: "y" * 4090}) == {key: "z"}


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        (media_types.OCI_INDEX, "index"),
        (media_types.DOCKER_LIST, "index"),
        (media_types.DOCKER_MANIFEST, "manifest"),
        (media_types.OCI_CONFIG, "config"),
        (media_types.OCI_LAYER_ZSTD, "layer"),
        (f"{media_types.OCI_LAYER_GZIP}+encrypted", "layer"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "layer"),
        ("application/vnd.erofs.layer.v1", "layer"),
        ("text/plain", "unknown"),
        ("", "unknown"),
    ],
)
def test_kinds(media_type: str, kind: str) -> None:
    assert media_types.kind(media_type) == kind
    assert media_types.ref_key(media_type, "d") == f"{kind}-d"
