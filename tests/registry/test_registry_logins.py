"""Token servers and challenges as they are met: each test is a habit of some registry."""

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from corten.errors import Unauthenticated
from corten.testing.content import MemoryContent
from lying_registry import Handler, ann, fetched, serving

Challenge = Callable[[str], tuple[str, ...]]


def bearer(address: str) -> tuple[str, ...]:
    return (f'Bearer realm="http://{address}/token",service="s"',)


def nothing(header: str) -> bool:
    return False


@asynccontextmanager
async def locked(
    token: Handler, challenges: Challenge = bearer, accepts: Callable[[str], bool] = nothing
) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A registry whose token server is `token`; without a header that it accepts it answers with the challenges."""
    asked: list[web.Request] = []

    async def first(request: web.Request) -> web.StreamResponse | None:
        if request.path == "/token":
            asked.append(request)
            return await token(request)
        if accepts(request.headers.get("Authorization", "")):
            return None
        response = web.Response(status=401)
        for challenge in challenges(str(request.host)):
            response.headers.add("WWW-Authenticate", challenge)
        return response

    async with serving(first) as (address, _):
        yield address, asked


def counted() -> Handler:
    """A new token each time, as signed ones are."""
    numbers = itertools.count()

    async def token(request: web.Request) -> web.Response:
        return web.json_response({"token": f"t{next(numbers)}"})

    return token


async def test_a_token_that_does_not_open_is_not_asked_for_again() -> None:
    async with locked(counted()) as (address, asked):
        with pytest.raises(Unauthenticated, match="its token opens nothing there"):
            await fetched(address, MemoryContent())
    assert len(asked) == 1


async def test_a_token_that_comes_in_pieces() -> None:
    async def token(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for part in (b'{"tok', b'en": "', b't"}'):
            await response.write(part)
            await asyncio.sleep(0.05)
        return response

    async with locked(token, accepts=lambda header: header == "Bearer t") as (address, _):
        await fetched(address, MemoryContent())


async def test_tokens_are_preferred_to_passwords() -> None:
    """Whatever the order: a registry that knows both may take passwords for something else."""

    def both(address: str) -> tuple[str, ...]:
        return ('Basic realm="x"', *bearer(address))

    async with locked(counted(), both, lambda header: header.startswith("Bearer ")) as (address, asked):
        await fetched(address, MemoryContent(), credentials=ann)
    assert asked[0].headers["Authorization"] == f"Basic {base64.b64encode(b'ann:secret').decode()}"


async def test_scopes_are_those_of_the_request_and_of_the_challenge() -> None:
    def more(address: str) -> tuple[str, ...]:
        return (f'{bearer(address)[0]},scope="registry:catalog:* repository:x:pull"',)

    async with locked(counted(), more, lambda header: header.startswith("Bearer ")) as (address, asked):
        await fetched(address, MemoryContent())
    assert asked[0].query.getall("scope") == ["registry:catalog:*", "repository:x:pull"]
    assert asked[0].query["service"] == "s"


async def test_a_token_server_that_wants_passwords_by_post() -> None:
    async def post_only(request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405)
        form = await request.post()
        right = (form["grant_type"], form["username"], form["password"]) == ("password", "ann", "secret")
        return web.json_response({"access_token": "t"}) if right else web.Response(status=401)

    async with locked(post_only, accepts=lambda header: header == "Bearer t") as (address, asked):
        await fetched(address, MemoryContent(), credentials=ann)
    assert [request.method for request in asked] == ["GET", "POST"]


async def test_of_two_tokens_the_one_that_containerd_takes() -> None:
    async def token(request: web.Request) -> web.Response:
        return web.json_response({"token": "other", "access_token": "t"})

    async with locked(token, accepts=lambda header: header == "Bearer t") as (address, _):
        await fetched(address, MemoryContent())


async def test_headers_with_several_values(tmp_path: Path) -> None:
    heard: list[web.Request] = []

    async def first(request: web.Request) -> None:
        heard.append(request)

    async with serving(first) as (address, _):
        (tmp_path / address).mkdir()
        text = f'[host."http://{address}"]\n[host."http://{address}".header]\nx-many = ["a", "b"]\naccept = "x/y"\n'
        (tmp_path / address / "hosts.toml").write_text(text)
        await fetched(address, MemoryContent(), host_roots=[tmp_path], headers={"X-Many": "c", "x-own": "d"})
    assert {tuple(request.headers.getall("X-Many")) for request in heard} == {("a", "b")}
    assert {tuple(request.headers.getall("Accept")) for request in heard} == {("x/y",)}
    assert {request.headers["X-Own"] for request in heard} == {"d"}


@pytest.mark.parametrize("realm", ["http://[", "", "ftp://x/token"])
async def test_a_token_server_that_has_no_address(realm: str) -> None:
    async with locked(counted(), lambda _: (f'Bearer realm="{realm}"',)) as (address, _):
        with pytest.raises(Unauthenticated, match="token server"):
            await fetched(address, MemoryContent())


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
async def test_a_login_in_the_headers_of_a_host_directory_counts_for_its_token_server(
    name: str, tmp_path: Path
) -> None:
    """How containerd 2 is told of a login, whose CRI has no settings for it any more."""
    async with locked(counted(), accepts=lambda header: header == "Bearer t0") as (address, asked):
        (tmp_path / address).mkdir()
        file = tmp_path / address / "hosts.toml"
        file.write_text(f'[host."http://{address}"]\n[host."http://{address}".header]\n{name} = "Basic YTpi"\n')
        await fetched(address, MemoryContent(), host_roots=[tmp_path])
    assert [request.headers.getall("Authorization") for request in asked] == [["Basic YTpi"]]


async def test_a_token_server_that_has_moved() -> None:
    async def moved(request: web.Request) -> web.Response:
        if "there" not in request.query:
            return web.Response(status=301, headers={"Location": f"/token?there=1&{request.query_string}"})
        return web.json_response({"access_token": "t"})

    async with locked(moved, accepts=lambda header: header == "Bearer t") as (address, asked):
        await fetched(address, MemoryContent(), credentials=ann)
    assert [request.headers["Authorization"] for request in asked] == [asked[0].headers["Authorization"]] * 2


async def test_a_token_server_that_has_moved_to_another_host_gets_no_credentials() -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.json_response({"token": "t"})

    async with serving(elsewhere) as (other, heard):

        async def moved(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"http://{other}/token"})

        async with locked(moved, accepts=lambda header: header == "Bearer t") as (address, _):
            await fetched(address, MemoryContent(), credentials=ann)
    assert [request.headers.get("Authorization") for request in heard] == [None]
