"""Contract of image verifiers: who may say that an image does not come into the store.

Every verifier is asked about every image that comes in, by a pull, an import or the CRI, once it is known which digest
it is and before its content is used. All must allow it. An error counts as a refusal, and so does a verifier that is
configured and did not start.

    judgement = await verifier.verify("docker.io/library/busybox:latest", target, ask)
    if not judgement.ok:
        raise PermissionDenied(judgement.reason)

Verifiers run on the event loop; what blocks goes into a pool.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from corten.values import dataclass

from .descriptor import Descriptor
from .transfer import Login


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a verifier says; `reason` is for people."""

    ok: bool
    reason: str = ""


AskCredentials = Callable[[], Awaitable[Login | None]]
"""Who the one that wants the image is at its registry; None for nobody. Asks only when it is called."""


class ImageVerifier(Protocol):
    """What a plugin of type `io.containerd.image-verifier.v1` is."""

    async def verify(self, name: str, target: Descriptor, ask: AskCredentials) -> Judgement:
        """Whether what `target` names may be stored under `name`. Anything raised is a refusal."""
        ...
