"""References of images, docker's short forms; platforms and which of them run where."""

import pytest
from corten import digests, platforms, references
from corten.errors import InvalidArgument
from corten.platforms import Platform
from hypothesis import given
from hypothesis import strategies as st

DIGEST = digests.of(b"image")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("grafana/loki", "docker.io/grafana/loki:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("127.0.0.1:5000/five:v1", "127.0.0.1:5000/five:v1"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("Registry/a", "Registry/a:latest"),
        ("ghcr.io/a/b__c-d.e", "ghcr.io/a/b__c-d.e:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        (f"quay.io/a:1@{DIGEST}", f"quay.io/a:1@{DIGEST}"),
    ],
)
def test_full_form(text: str, full: str) -> None:
    parsed = references.parse(text)
    assert str(parsed) == full
    assert references.parse(full) == parsed
    assert references.parse(parsed.familiar) == parsed


@pytest.mark.parametrize(
    "text",
    ["", ":", "@", "a:", "a@", "a@sha256:0", "A", "a b", "a//b", "/a", "a/", "-a", "a:-tag", "a:" + "t" * 129, "a:b:c",
     "http://a/b", "host:port/a", "a..b", "a___b", "a" * 256, "x/../y", "a\n", "[::1/a", "é.io/a", f"{DIGEST}:x"],
)  # fmt: skip
def test_malformed_references(text: str) -> None:
    with pytest.raises(InvalidArgument):
        references.parse(text)


def test_parts() -> None:
    reference = references.parse(f"quay.io/a/b:1@{DIGEST}")
    assert (reference.host, reference.path, reference.tag, reference.object) == ("quay.io", "a/b", "1", DIGEST)
    assert references.parse("a").with_digest(DIGEST).object == DIGEST
    assert references.parse("docker.io/library/a:1").familiar == "a:1"
    assert references.parse("docker.io/x/a:1").familiar == "x/a:1"


@given(st.text(alphabet=st.one_of(st.sampled_from("aA0.:/@-_[]"), st.characters()), max_size=40))
def test_any_text_is_a_reference_or_an_invalid_argument(text: str) -> None:
    try:
        parsed = references.parse(text)
    except InvalidArgument:
        return
    assert references.parse(str(parsed)) == parsed
    assert "//" not in parsed.path
    assert ".." not in parsed.path.split("/")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AARCH64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("windows(10.0.20348.1)/amd64", "windows(10.0.20348.1)/amd64"),
        ("macos/arm64", "darwin/arm64"),
        ("linux(+erofs)/amd64", "linux(+erofs)/amd64"),
        ("windows(10.0.1+win32k+b+b)/amd64", "windows(10.0.1+b+win32k)/amd64"),
    ],
)
def test_platforms_are_normalised(text: str, full: str) -> None:
    assert str(platforms.parse(text)) == full
    assert str(platforms.parse(full)) == full


def test_half_a_platform_is_completed_with_the_host() -> None:
    assert platforms.parse("linux") == platforms.host()
    assert platforms.parse("s390x") == Platform(platforms.host().os, "s390x")


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "linux/a/b/c", "linux//v8", "li nux/amd64", "linux/am d64", "é/x", "foo"]
)
def test_malformed_platforms(text: str) -> None:
    with pytest.raises(InvalidArgument):
        platforms.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_platform_or_an_invalid_argument(text: str) -> None:
    try:
        parsed = platforms.parse(text)
    except InvalidArgument:
        return
    assert platforms.normalise(parsed) == parsed


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3"),
        ("linux/amd64", ["linux/amd64/v2"], None),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], "linux/arm64"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm64/v9", ["linux/arm64"], "linux/arm64"),
        ("linux/arm64/v9.1", ["linux/arm64", "linux/arm64/v8.6", "linux/arm64/v8.7"], "linux/arm64/v8.6"),
        ("linux/arm64/v9.1", ["linux/arm64/v8.6", "linux/arm64/v9.2", "linux/arm64/v9"], "linux/arm64/v9"),
        ("linux/arm64", ["linux/arm64/v8.1"], None),
        ("linux/amd64", ["windows/amd64", "linux/386"], "linux/386"),
        ("linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("linux/386", ["linux/amd64"], None),
        ("linux/amd64", ["linux(+erofs)/amd64", "linux/amd64"], "linux/amd64"),
        ("linux(+erofs)/amd64", ["linux/amd64", "linux(+erofs)/amd64"], "linux(+erofs)/amd64"),
        ("linux(+a)/amd64", ["linux(+a+b)/amd64"], None),
        ("windows(10.0.20348.5)/amd64", ["windows(10.0.17763.1)/amd64", "windows(10.0.20348.1)/amd64"],
         "windows(10.0.20348.1)/amd64"),
        ("linux/amd64", [], None),
    ],
)  # fmt: skip
def test_best_platform(wanted: str, offered: list[str], chosen: str | None) -> None:
    pairs = [(parsed, str(parsed)) for parsed in map(platforms.parse, offered)]
    assert platforms.best(platforms.parse(wanted), pairs) == chosen
