"""The filter language has containerd's semantics, and takes any input."""

import time
from collections.abc import Mapping, Sequence

import pytest
from corten import filter_syntax, filters
from corten.errors import InvalidArgument
from hypothesis import given
from hypothesis import strategies as st

WEB = {
    ("id",): "web-1",
    ("image",): "docker.io/library/nginx:1.27",
    ("runtime", "name"): "io.containerd.runc.v2",
    ("labels", "app"): "shop",
    ("labels", "a/key with spaces"): "x, y",
    ("labels", "io", "kubernetes", "pod"): "p=1",
    ("labels", "empty"): "",
}


def matches(*texts: str, of: Mapping[tuple[str, ...], str] = WEB) -> bool:
    def lookup(path: Sequence[str]) -> str | None:
        return of.get(tuple(path))

    return filters.compile(texts)(lookup)


def always(value: str | None) -> filters.Lookup:
    return lambda _: value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id",
        "id==web-1",
        " id == web-1",
        "id!=web-2",
        "id~=web",
        "id~=^web-[0-9]+$",
        "id~=/^web-\\\\d$/",
        "id~=|b-1|",
        'image=="docker.io/library/nginx:1.27"',
        "image==docker.io/library/nginx:1.27",
        "runtime.name==io.containerd.runc.v2",
        "runtime. name ~=runc",
        "labels.app",
        'labels."a/key with spaces"=="x, y"',
        "labels.io.kubernetes.pod==p=1",
        "labels.empty",
        'labels.empty==""',
        "labels.absent!=anything",
        'labels.absent~=""',
        'labels.app=="\\x73\\150op"',
        'labels.app=="sh\\u006f\\U00000070"',
        "id==web-1,labels.app==shop, runtime.name",
    ],
)
def test_matching_filters(text: str) -> None:
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "id==web",
        "id!=web-1",
        "id~=^eb",
        "labels.absent",
        'labels.absent==""',
        'labels.absent!=""',
        "labels.absent~=/./",
        'labels.empty!=""',
        "id==web-1,labels.absent",
        "runtime==io.containerd.runc.v2",
        "ID==web-1",
    ],
)
def test_filters_that_do_not_match(text: str) -> None:
    assert not matches(text)


def test_any_of_several_filters_and_no_filter_match() -> None:
    assert matches()
    assert matches("id==other", "labels.app==shop")
    assert not matches("id==other", "labels.app==none")
    assert matches("id==other", "")


@pytest.mark.parametrize(
    "text",
    [
        "=", "==x", "id=", "id==", "id=x", "id===x", "id<x", "id==x y", "id==x ,image", "id ", "id,", ",id", "id..x",
        "id.", ".id", "id==.x", "id==/x/", "id==|x|", '"id', 'id=="x', 'id=="x\ny"', 'id=="\\q"', 'id=="\\xZZ"',
        'id=="\\777"', 'id=="\\uD800"', 'id=="\\xff"', "id~=(", "id~=[", "id~=(?P<n", "id~=a{2000}", "id==x\0",
        "id==\ufffd", "id==\ud800", "runtime . name==x", "id~=.", "/id/==x", "i-d==x", "é==x",
    ],
)  # fmt: skip
def test_malformed_filters_say_what_is_wrong(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        filters.compile([text])
    assert caught.value.message.startswith("filter")
    assert len(caught.value.message) < 500


def test_length_and_number_are_bounded() -> None:
    name = "n" * 32768
    assert filters.compile([f'id=="{name}"'])(always(name))
    with pytest.raises(InvalidArgument, match="65536 allowed"):
        filters.compile(["id==" + "x" * filter_syntax.MAX_LENGTH])
    with pytest.raises(InvalidArgument, match="10 allowed"):
        filters.compile(["id==too-long"], max_length=10)
    with pytest.raises(InvalidArgument, match="1024 allowed"):
        filters.compile(["id"] * 1025)


def test_hostile_regular_expressions_take_linear_time() -> None:
    match = filters.compile(["id~=/^(a+)+$/", "id~=/(a|aa)+$/", "id~=/(.*)*b/"])
    began = time.monotonic()
    assert not match(always("a" * 30000 + "!"))
    assert time.monotonic() - began < 2


@given(st.text(alphabet=st.one_of(st.sampled_from(' .,=!~"/|\\_abx01\n\0é€'), st.characters()), max_size=60))
def test_any_text_compiles_or_is_an_invalid_argument(text: str) -> None:
    try:
        match = filters.compile([text])
    except InvalidArgument:
        return
    assert match(always(None)) in (True, False)
    assert match(always("value")) in (True, False)


@given(st.text(st.characters(exclude_characters="\0\ufffd\n", exclude_categories=["Cs"])), st.text(max_size=5))
def test_any_value_can_be_quoted(value: str, other: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    match = filters.compile([f'labels."{quoted}"=="{quoted}"'])
    assert match(lambda path: value if tuple(path) == ("labels", value) else None)
    assert match(always(other)) == (other == value)
