"""Challenges, credentials, addresses and pauses of the registry client."""

import base64
import json
from pathlib import Path

import pytest
from corten.errors import InvalidArgument
from corten.registry import challenge, hosts
from corten.registry.challenge import Challenge
from corten.registry.credentials import Credentials, anonymous
from corten.registry.docker_config import docker_credentials
from corten.registry.retry import Retry
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('Basic realm="a \\"b\\""', [Challenge("basic", {"realm": 'a "b"'})]),
        ("BASIC REALM=r", [Challenge("basic", {"realm": "r"})]),
        (
            'Bearer realm="x", Basic realm="y"',
            [Challenge("bearer", {"realm": "x"}), Challenge("basic", {"realm": "y"})],
        ),
        ("Negotiate, Basic realm=r", [Challenge("negotiate"), Challenge("basic", {"realm": "r"})]),
        ("", []),
        ('"', []),
    ],
)
def test_challenges(header: str, challenges: list[Challenge]) -> None:
    assert challenge.parse(header) == challenges


@given(st.text(max_size=200))
def test_any_header_is_read(header: str) -> None:
    assert isinstance(challenge.parse(header), list)


@pytest.mark.parametrize(
    ("host", "plain", "url"),
    [
        ("docker.io", None, "https://registry-1.docker.io/v2/"),
        ("ghcr.io", None, "https://ghcr.io/v2/"),
        ("localhost:5000", None, "http://localhost:5000/v2/"),
        ("127.3.4.5", None, "http://127.3.4.5/v2/"),
        ("[::1]:5000", None, "http://[::1]:5000/v2/"),
        ("localhost.example.org", None, "https://localhost.example.org/v2/"),
        ("localhost:5000", False, "https://localhost:5000/v2/"),
        ("ghcr.io", True, "http://ghcr.io/v2/"),
        ("10.0.0.1:80", None, "https://10.0.0.1:80/v2/"),
    ],
)
def test_where_the_api_is(host: str, plain: bool | None, url: str) -> None:
    assert str(hosts.base_url(host, plain)) == url


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_docker_config(tmp_path: Path) -> None:
    auth = base64.b64encode(b"ann:a:b").decode()
    auths = {
        "https://index.docker.io/v1/": {"auth": auth},
        "ghcr.io": {"username": "bob", "password": "pw"},
        "https://old.example/v1/": {"auth": auth},
        "token.example": {"auth": auth, "identitytoken": "tok"},
        "empty.example": {},
        "broken.example": {"auth": "%%%"},
    }
    lookup = docker_credentials(write(tmp_path / "config.json", {"auths": auths}))
    assert lookup("docker.io") == Credentials("ann", "a:b")
    assert lookup("ghcr.io") == Credentials("bob", "pw")
    assert lookup("old.example") == Credentials("ann", "a:b")
    assert lookup("token.example") == Credentials(identity_token="tok")  # noqa: S106
    assert lookup("empty.example") is None
    assert lookup("sub.ghcr.io") is None
    with pytest.raises(InvalidArgument, match="log in again"):
        lookup("broken.example")
    assert "a:b" not in repr(lookup("docker.io"))


def test_docker_config_missing_or_malformed(tmp_path: Path) -> None:
    assert docker_credentials(tmp_path / "none" / "config.json") is anonymous
    for text in ("[]", "{", '{"auths": []}', "\xff"):
        (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
        if text == '{"auths": []}':
            assert docker_credentials(tmp_path / "config.json")("x") is None
        else:
            with pytest.raises(InvalidArgument):
                docker_credentials(tmp_path / "config.json")


def test_pauses_grow_and_end() -> None:
    pauses = list(Retry(attempts=8, first=1, most=10).pauses())
    assert len(pauses) == 7
    assert all(
        low <= pause <= high for pause, (low, high) in zip(pauses, [(0.5, 1), (1, 2), (2, 4), (4, 8)], strict=False)
    )
    assert max(pauses) <= 10
