"""What refers to an image in its registry: signatures, attestations, lists of parts.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers. A registry without that API
keeps them in an index under the tag `ALGORITHM-ENCODED` of the digest.
"""

from collections.abc import Sequence

from yarl import URL

from corten import digests
from corten.errors import FailedPrecondition, InvalidArgument, NotFound, Unknown
from corten.oci_image import documents, media_types
from corten.references import Reference

from . import answers
from .client import RegistryClient
from .connections import Request
from .hosts_toml import PULL, REFERRERS
from .kept_referrers import Referrer

MAX_PAGES = 64
MAX_REFERRERS = documents.MAX_ENTRIES


async def referrers(
    registry: RegistryClient, reference: Reference, digest: str, artifact_type: str = ""
) -> Sequence[Referrer]:
    """All that refer to `digest` in the reference's repository, of one type or, if it is empty, of any.

    Raises the errors of `RegistryClient.resolve` but NotFound: there is nothing then; InvalidArgument for a malformed
    answer, FailedPrecondition for one without end.
    """
    digests.parse(digest)
    try:
        found = await _by_api(registry, reference, digest, artifact_type)
    except (NotFound, Unknown):
        found = await _by_tag(registry, reference, digest)
    # A registry need not have filtered, and does not always do so if it says it has.
    return [each for each in found if not artifact_type or each.artifact_type == artifact_type]


async def _by_api(registry: RegistryClient, reference: Reference, digest: str, artifact_type: str) -> list[Referrer]:
    found: list[Referrer] = []
    query = {"artifactType": artifact_type} if artifact_type else {}
    request: Request | None = Request(
        "GET", reference, f"referrers/{digest}", query=query, headers={"Accept": media_types.OCI_INDEX}
    )
    for _ in range(MAX_PAGES):
        assert request is not None
        response = await registry.answer(request, REFERRERS)
        try:
            found += _parsed(await answers.read(response, documents.MAX_SIZE, f"referrers of {digest}"), digest)
            request = _next(response.url, response.headers.getall("Link", []), request)
        finally:
            response.close()
        if request is None:
            return found
        if len(found) > MAX_REFERRERS:
            break
    raise FailedPrecondition(f"referrers of {digest}: registry {reference.host} has no end of them")


def _next(url: URL, links: Sequence[str], request: Request) -> Request | None:
    """The next page (RFC 5988), which must be of the same host: it gets the same credentials."""
    for link in links:
        address, _, parameters = link.partition(">")
        if 'rel="next"' in parameters.replace(" ", "") or "rel=next" in parameters.replace(" ", ""):
            target = url.join(URL(address.strip().removeprefix("<")))
            if target.origin() != url.origin():
                raise FailedPrecondition(f"registry {answers.authority(url)}: its next page is on another host")
            return Request("GET", request.reference, url=target, headers=request.headers)
    return None


def tag_of(reference: Reference, digest: str) -> Reference:
    """Where the referrers of `digest` are listed in a repository of a registry without the API."""
    algorithm, encoded = digests.parse(digest)
    return Reference(reference.host, reference.path, f"{algorithm[:32]}-{encoded[:64]}")


async def _by_tag(registry: RegistryClient, reference: Reference, digest: str) -> list[Referrer]:
    tagged = tag_of(reference, digest)
    request = Request("GET", tagged, f"manifests/{tagged.tag}", headers={"Accept": media_types.OCI_INDEX})
    try:
        response = await registry.answer(request, PULL)
    except NotFound:
        return []
    try:
        return _parsed(await answers.read(response, documents.MAX_SIZE, f"referrers of {digest}"), digest)
    finally:
        response.close()


def _parsed(data: bytes, digest: str) -> list[Referrer]:
    what = f"referrers of {digest}"
    index = documents.index(data, media_types.OCI_INDEX, what)
    entries = documents.load(data, what)["manifests"]
    types = [entry.get("artifactType", "") for entry in entries]
    if not all(isinstance(each, str) for each in types):
        raise InvalidArgument(f"{what}: an artifact type is not a text")
    return [Referrer(entry.descriptor, type) for entry, type in zip(index.entries, types, strict=True)]
