"""A typed client of Corten and of anything else that speaks containerd's API, in the values of `corten.contracts`.

    async with Client(address, namespace="default") as client:
        image = await pull(client, "registry.example/app:1")          # corten.client.pull
        ended = await run(client, RunOptions(image.name, "app-1"))    # corten.client.run

`Client` has one attribute for each service. Modules put them together: `pull`, `archive`, `unpack`, `run`, `execute`,
`process` (attach). `corten.client.sync` is the same without `await`.
"""

from .client import DEFAULT_ADDRESS, DEFAULT_NAMESPACE, Client

__all__ = ["DEFAULT_ADDRESS", "DEFAULT_NAMESPACE", "Client"]
