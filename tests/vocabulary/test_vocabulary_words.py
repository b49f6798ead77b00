"""Identifiers, labels, digests and field masks: containerd's limits, and nothing but InvalidArgument."""

import hashlib

import pytest
from corten import digests, fieldpaths, identifiers, labels
from corten.errors import InvalidArgument, NotFound, mapped
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("id", ["a", "0", "web-1", "a.b_c-d", "A" * 76, "k8s.io", "1-2"])
def test_good_identifiers(id: str) -> None:
    identifiers.validate(id)


@pytest.mark.parametrize(
    "id",
    ["", "a" * 77, "-a", "a-", "a--b", "a..b", ".", "..", "a/b", "a b", "a\n", "é", "٣", "a_", "a.-b", "\0", "\ud800"],
)
def test_bad_identifiers(id: str) -> None:
    with pytest.raises(InvalidArgument, match="container"):
        identifiers.validate(id, "container")


@given(st.text(max_size=100))
def test_what_passes_as_identifier_is_safe_in_a_path(id: str) -> None:
    try:
        identifiers.validate(id)
    except InvalidArgument:
        return
    assert id.isascii()
    assert not set(id) & set("/\\\0 ")
    assert id[0].isalnum()
    assert 0 < len(id) <= identifiers.MAX_LENGTH


def test_labels_are_bounded_in_bytes() -> None:
    labels.validate({"k": "v" * 4095, "": ""})
    for key, value in (("k", "v" * 4096), ("k" * 4097, ""), ("é" * 2048, "x"), ("k", "\ud800")):
        with pytest.raises(InvalidArgument) as caught:
            labels.validate({"fine": "yes", key: value})
        assert len(caught.value.message) < 300


def test_a_label_without_a_key_is_refused() -> None:
    """As containerd does, which cannot store it."""
    with pytest.raises(InvalidArgument, match="key is empty"):
        labels.validate({"": "value"})


def test_empty_and_reserved_labels() -> None:
    with pytest.raises(InvalidArgument, match="key"):
        labels.validate_one("", "v")
    assert labels.kept({"a": "", "b": "1"}) == {"b": "1"}
    assert labels.is_reserved("containerd.io/gc.root")
    assert labels.is_reserved("io.cri-containerd.image")
    assert not labels.is_reserved("org.example/containerd.io/x")


@given(st.binary(max_size=200), st.sampled_from(sorted(digests.HEX_LENGTH)))
def test_digests_round_trip(data: bytes, algorithm: str) -> None:
    digest = digests.of(data, algorithm)
    assert digests.parse(digest) == (algorithm, hashlib.new(algorithm, data).hexdigest())


@pytest.mark.parametrize(
    "digest",
    ["", ":", "sha256:", "sha256", "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64,
     "sha256:" + "g" * 64, "SHA256:" + "0" * 64,
     "md5:" + "0" * 32, "sha256:" + "0" * 64 + "\n", "sha256:../../../etc/passwd",
     "sha512:" + "0" * 64, "sha256+b64:" + "0" * 64, " sha256:" + "0" * 64, "sha256:" + "٣" * 64, "x" * 100000],
)  # fmt: skip
def test_malformed_digests(digest: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        digests.parse(digest)
    assert len(caught.value.message) < 400


@given(st.text(max_size=90))
def test_any_text_is_a_digest_or_an_invalid_argument(text: str) -> None:
    for call in (digests.parse, digests.hasher):
        try:
            call(text)
        except InvalidArgument:
            pass


def test_masks_of_labels() -> None:
    old, new = {"a": "1", "b.c/d": "2"}, {"a": "3", "x": "4"}
    assert fieldpaths.merged_labels(old, new, (), "it") == new
    assert fieldpaths.merged_labels(old, new, ("labels",), "it") == new
    assert fieldpaths.merged_labels(old, new, ("labels.a",), "it") == {"a": "3", "b.c/d": "2"}
    assert fieldpaths.merged_labels(old, new, ("labels.b.c/d", "labels.x"), "it") == {"a": "1", "x": "4"}
    assert fieldpaths.merged_labels(old, {"a": ""}, ("labels.a",), "it") == {"b.c/d": "2"}


def test_masks_of_several_fields() -> None:
    paths = fieldpaths.parse(("image", "extensions.k"), ("labels", "image"), ("labels", "extensions"))
    assert fieldpaths.replaces(paths, "image")
    assert not fieldpaths.replaces(paths, "labels")
    assert fieldpaths.merged({"k": 1, "l": 2}, {"k": 3}, "extensions", paths) == {"k": 3, "l": 2}
    assert fieldpaths.merged({"k": 1}, {"k": 3}, "labels", paths) == {"k": 1}
    everything = fieldpaths.parse((), ("labels", "image"))
    assert fieldpaths.replaces(everything, "labels")
    assert fieldpaths.replaces(everything, "image")


@given(st.text(max_size=30))
def test_unknown_fields_are_refused_by_name(path: str) -> None:
    try:
        fieldpaths.parse((path,), ("labels",))
    except InvalidArgument as error:
        assert "labels.KEY" in error.message
    else:
        assert path == "labels" or path.startswith("labels.")


def test_masked_labels_are_checked_for_size() -> None:
    with pytest.raises(InvalidArgument):
        fieldpaths.merged_labels({}, {"k": "v" * 5000}, ("labels.k",), "it")


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("read /no/such", "read /no/such: No such file or directory"),
        ("read the list", "read the list: No such file or directory: /no/such"),
    ],
)
def test_a_foreign_error_is_told_in_words_with_its_file_once(action: str, says: str) -> None:
    with pytest.raises(NotFound) as raised, mapped(action):
        open("/no/such").close()
    assert raised.value.message == says
