"""The list of referrers that clients keep where a registry has none: an index under a tag.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests-with-subject
"""

from io import BytesIO
from typing import Any

from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, media_types
from corten.oci_image.model import Index, Manifest
from corten.references import Reference

from . import answers
from .client import RegistryClient
from .connections import Request
from .endpoints import Endpoint
from .referrers import tag_of


async def enlist(
    registry: RegistryClient,
    endpoint: Endpoint,
    reference: Reference,
    target: Descriptor,
    document: Index | Manifest,
) -> None:
    """Have `target` in the list of what refers to its subject; nothing is written if it is there.

    The registry has no way to say that another client wrote the list meanwhile: the last one counts. Raises
    InvalidArgument for a list that is malformed, and the errors of `RegistryClient.answer_of`.
    """
    tagged = tag_of(reference, document.subject)
    entries = await _listed(registry, endpoint, tagged)
    if any(entry.get("digest") == target.digest for entry in entries):
        return
    listed = documents.as_document(Descriptor(target.media_type, target.digest, target.size, document.annotations)) | (
        {"artifactType": document.listed_type} if document.listed_type else {}
    )
    data = documents.dump({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [*entries, listed]})
    request = Request(
        "PUT",
        tagged,
        f"manifests/{tagged.tag}",
        headers={"Content-Type": media_types.OCI_INDEX},
        body=lambda: BytesIO(data),
        actions="pull,push",
    )
    (await registry.answer_of(endpoint, request)).release()


async def _listed(registry: RegistryClient, endpoint: Endpoint, tagged: Reference) -> list[dict[str, Any]]:
    """The entries as they stand, with fields that are not known here."""
    what = f"list of referrers {tagged}"
    headers = {"Accept": media_types.OCI_INDEX}
    request = Request("GET", tagged, f"manifests/{tagged.tag}", headers=headers, actions="pull,push")
    try:
        response = await registry.answer_of(endpoint, request)
    except NotFound:
        return []
    try:
        data = await answers.read(response, documents.MAX_SIZE, what)
    finally:
        response.close()
    if answers.media_type(response) not in ("", media_types.OCI_INDEX):
        raise InvalidArgument(f"{what}: something else has this tag, a {answers.media_type(response)[:200]!r}")
    documents.index(data, media_types.OCI_INDEX, what)
    found: list[dict[str, Any]] = documents.load(data, what)["manifests"]
    return found
