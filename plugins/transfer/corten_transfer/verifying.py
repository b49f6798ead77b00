"""The one place where image verifiers are asked; it fails closed."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.contracts.descriptor import Descriptor
from corten.contracts.transfer import Login
from corten.contracts.verification import AskCredentials, ImageVerifier
from corten.errors import CortenError, FailedPrecondition, PermissionDenied

log = logging.getLogger(__name__)


async def nobody() -> Login | None:
    """For images that come from no registry."""
    return None


@dataclass(frozen=True)
class Verifiers:
    """Those that started, and those that are configured and did not, by id."""

    running: Mapping[str, ImageVerifier] = field(default_factory=dict)
    failed: Mapping[str, BaseException] = field(default_factory=dict)

    async def check(self, name: str, target: Descriptor, ask: AskCredentials = nobody) -> None:
        """Raises PermissionDenied if one refuses, FailedPrecondition if one cannot say."""
        for id, error in self.failed.items():
            raise FailedPrecondition(
                f"image {name}: it is refused, because image verifier {id!r} did not start: {error} (repair it, or "
                "disable its plugin)"
            ) from error
        for id, verifier in self.running.items():
            await self._ask(id, verifier, name, target, ask)

    async def _ask(self, id: str, verifier: ImageVerifier, name: str, target: Descriptor, ask: AskCredentials) -> None:
        try:
            judgement = await verifier.verify(name, target, ask)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            why = error.message if isinstance(error, CortenError) else f"{type(error).__name__}: {error}"
            raise FailedPrecondition(
                f"image {name} ({target.digest}): it is refused, because image verifier {id!r} cannot say: {why}"
            ) from error
        if not judgement.ok:
            raise PermissionDenied(
                f"image {name} ({target.digest}): image verifier {id!r} refuses it: {judgement.reason}"
            )
        log.debug("image %s (%s): image verifier %r allows it: %s", name, target.digest, id, judgement.reason)
