"""What a registry says beside its answers: warnings, referrers; logins by refresh tokens; and silence."""

import asyncio
import json

import pytest
from aiohttp import web
from corten import references
from corten.errors import CortenError, FailedPrecondition, InvalidArgument, Unauthenticated, Unavailable
from corten.oci_image import documents, media_types
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.referrers import referrers
from corten.registry.retry import Retry
from corten.testing.content import MemoryContent
from lying_registry import IMAGE, Handler, fetched, is_layer, serving

pytestmark = pytest.mark.timeout(60)
DIGEST = IMAGE.target.digest


async def test_warnings_are_passed_on_once_and_without_control_characters() -> None:
    said: list[tuple[str, str]] = []
    texts = ('299 - "it \\"ends\\" soon"', '110 - "stale"', '299 - "\x9b2J"', "299 nonsense")
    async with serving(headers=[("Warning", text) for text in texts]) as (address, requests):
        await fetched(address, MemoryContent(), warn=lambda host, text: said.append((host, text)))
    assert len(requests) > 1
    assert said == [(address, 'it "ends" soon')]


async def test_warnings_without_end_are_cut() -> None:
    said: list[str] = []
    texts = [f'299 - "{number:>5000}"' for number in range(100)]
    async with serving(headers=[("Warning", text) for text in texts[:1]]) as (address, _):
        await fetched(address, MemoryContent(), warn=lambda _, text: said.append(text))
    assert [len(text) for text in said] == [4096]


async def test_a_silent_connection_is_given_up_and_tried_again() -> None:
    """The first answers stop in the middle of the layer and say nothing more; the third goes on where they stopped."""
    stopped: list[str] = []

    async def silent(request: web.Request) -> web.StreamResponse | None:
        if not is_layer(request) or len(stopped) >= 2:
            return None
        stopped.append(request.headers.get("Range", ""))
        start = int((stopped[-1] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        data = IMAGE.blobs[request.path.rpartition("/")[2]]
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = len(data) - start
        await response.prepare(request)
        await response.write(data[start : start + 1_000_000])
        await asyncio.sleep(30)
        return response

    async with serving(silent) as (address, requests):
        await fetched(address, MemoryContent(), stall_timeout=1)
        ranges = [request.headers.get("Range") for request in requests if is_layer(request)]
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]


async def test_a_registry_that_stays_silent_is_given_up() -> None:
    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving(silent) as (address, _):
        with pytest.raises(Unavailable, match=f"cannot reach registry {address}"):
            await fetched(address, MemoryContent(), stall_timeout=0.2)


async def test_a_refresh_token_goes_to_the_token_server_alone() -> None:
    forms: list[dict[str, str]] = []

    async def oauth(request: web.Request) -> web.Response | None:
        if request.path == "/token":
            assert request.method == "POST"
            forms.append({key: str(value) for key, value in (await request.post()).items()})
            return web.json_response({"access_token": "t", "refresh_token": "new"})
        assert "refresh-me" not in str(request.headers)
        if request.headers.get("Authorization") == "Bearer t":
            return None
        realm = f'Bearer realm="http://{request.host}/token",service="s"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    async with serving(oauth) as (address, _):
        await fetched(address, MemoryContent(), credentials=lambda _: Credentials(identity_token="refresh-me"))  # noqa: S106
    assert forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-me",
            "service": "s",
            "scope": "repository:x:pull",
            "client_id": "corten",
        }
    ]


async def test_a_refresh_token_that_is_refused() -> None:
    async def oauth(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{request.host}/token"'})

    async with serving(oauth) as (address, _):
        with pytest.raises(Unauthenticated, match="refuses an unnamed user with status 400"):
            await fetched(address, MemoryContent(), credentials=lambda _: Credentials(identity_token="old"))  # noqa: S106


def listing(*types: str, size: int = 3) -> dict[str, object]:
    entries = [
        {"mediaType": media_types.OCI_MANIFEST, "digest": DIGEST, "size": size, "artifactType": type} for type in types
    ]
    return {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}


async def asked(first: Handler, artifact_type: str = "") -> list[str]:
    async with serving(first) as (address, _), RegistryClient(retry=Retry(1)) as client:
        reference = references.parse(f"{address}/x:tag")
        found = await referrers(client, reference, DIGEST, artifact_type)
    assert all(each.descriptor.digest == DIGEST for each in found)
    return [each.artifact_type for each in found]


async def test_referrers_page_by_page() -> None:
    async def pages(request: web.Request) -> web.Response | None:
        if not request.path.endswith(f"/referrers/{DIGEST}"):
            return None
        if request.query.get("page") == "2":
            return web.json_response(listing("b"))
        return web.json_response(listing("a"), headers={"Link": f'<{request.path}?page=2>; rel="next"'})

    assert await asked(pages) == ["a", "b"]
    assert await asked(pages, "b") == ["b"], "filtered also where the registry does not"


async def test_referrers_of_a_registry_without_the_api() -> None:
    tag = DIGEST.replace(":", "-")

    async def old(request: web.Request) -> web.Response | None:
        if "/referrers/" in request.path:
            return web.Response(status=404)
        return web.json_response(listing("signature")) if request.path.endswith(f"/manifests/{tag}") else None

    assert await asked(old) == ["signature"]

    async def none(request: web.Request) -> web.Response:
        return web.Response(status=404)

    assert await asked(none) == []


@pytest.mark.parametrize(
    ("answer", "link", "error"),
    [
        ("{", "", InvalidArgument),
        (json.dumps(listing("a", size=-1)), "", InvalidArgument),
        (json.dumps({"manifests": [], "layers": []}), "", InvalidArgument),
        (
            json.dumps({**listing(), "manifests": [{**documents.as_document(IMAGE.target), "artifactType": 1}]}),
            "",
            InvalidArgument,
        ),
        (json.dumps(listing("a")), "<http://elsewhere.example/x>; rel=next", FailedPrecondition),
        (json.dumps(listing("a")), "<?more>; rel=next", FailedPrecondition),
    ],
)
async def test_referrers_that_are_none(answer: str, link: str, error: type[CortenError]) -> None:
    async def lie(request: web.Request) -> web.Response:
        return web.Response(text=answer, headers={"Link": link} if link else {})

    with pytest.raises(error):
        await asked(lie)


@pytest.mark.parametrize("signed", ["json", "prettyjws"])
async def test_schema_1_is_refused_by_its_name(signed: str) -> None:
    async def old(request: web.Request) -> web.Response:
        headers = {"Content-Type": f"application/vnd.docker.distribution.manifest.v1+{signed}"}
        return web.Response(body=b'{"schemaVersion": 1, "fsLayers": []}', headers=headers)

    async with serving(old) as (address, _):
        with pytest.raises(InvalidArgument, match="schema 1"):
            await fetched(address, MemoryContent())
