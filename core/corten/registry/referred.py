"""Referrers that come with their image: fetched, and labelled so that what they are about keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import field, replace

from corten.contracts.descriptor import Descriptor
from corten.errors import FailedPrecondition
from corten.oci_image import documents, gc_labels, media_types
from corten.values import dataclass

from .copying import copy_blob
from .kept_referrers import MAX_CHAIN, parsed
from .referrers import MAX_REFERRERS, referrers
from .tree import Documents, Wanted


@dataclass(slots=True)
class Referrals:
    """The referrers of one image on their way from its registry; `types` of artifacts, none named means any."""

    documents: Documents
    types: Sequence[str]
    slots: asyncio.Semaphore
    _seen: set[str] = field(default_factory=set)

    async def fetch(self, subjects: Sequence[Descriptor]) -> None:
        """Have those of `subjects`, which are in the sink, there too, whole and labelled; and theirs in turn.

        Raises FailedPrecondition for a registry that names something else or has no end of them, and the errors of
        the registry.
        """
        for _ in range(MAX_CHAIN):
            subjects = [each for subject in subjects for each in await self._of(subject)]
            if not subjects:
                return

    async def _of(self, subject: Descriptor) -> list[Descriptor]:
        found = [each for each in await self._listed(subject) if each.digest not in self._seen]
        self._seen.update(each.digest for each in found)
        if len(self._seen) > MAX_REFERRERS:
            raise FailedPrecondition(f"image {self.documents.reference}: more than {MAX_REFERRERS} refer to it")
        self.documents.found(subject, found)
        for each in found:
            await self._whole(subject, each)
        if found:
            await self.documents.sink.label(subject.digest, gc_labels.of_referrers([each.digest for each in found]))
        return found

    async def _listed(self, subject: Descriptor) -> list[Descriptor]:
        registry, reference = self.documents.registry, self.documents.reference
        found = await referrers(registry, reference, subject.digest)
        # Not asked for by type: some registries answer nothing where several are named, or one that they do not know.
        wanted = [each.descriptor for each in found if not self.types or each.artifact_type in self.types]
        return list({each.digest: replace(each, annotations={}) for each in wanted}.values())

    async def _whole(self, subject: Descriptor, target: Descriptor) -> None:
        if media_types.kind(target.media_type) not in ("index", "manifest"):
            raise FailedPrecondition(
                f"registry {self.documents.reference.host}: it names {target.media_type[:200]!r} {target.digest} as a "
                f"referrer of {subject.digest}, which only an index or a manifest can be"
            )
        own = self.documents
        anew = Documents(own.registry, own.reference, own.sink, own.show, own.found)
        fetched = await anew.fetch(target, Wanted(artifacts=True))
        document = parsed(target, await own.sink.read(target.digest, documents.MAX_SIZE))
        if document.subject != subject.digest:
            raise FailedPrecondition(
                f"registry {self.documents.reference.host}: it names {target.digest} as a referrer of "
                f"{subject.digest}, but it is about {document.subject or 'nothing'}"
            )
        layers = {layer.digest: layer for each in fetched for layer in each.manifest.layers}
        try:
            async with asyncio.TaskGroup() as group:
                for layer in layers.values():
                    group.create_task(self._layer(layer), name=f"pull {layer.digest}")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _layer(self, layer: Descriptor) -> None:
        async with self.slots:
            own = self.documents
            await copy_blob(own.registry, own.reference, layer, own.sink, {}, own.show)
