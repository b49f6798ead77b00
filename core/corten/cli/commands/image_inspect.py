"""`corten image inspect`, `tree` and `verify`: what an image is, what it consists of, and whether it is all here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..output import aligned, format_option, printable, show_fields, show_json
from ..session import Session
from ..words import age, shown_size

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.image_check import Finding
    from corten.client.image_tree import Node
    from corten.contracts.objects import Image

_SNAPSHOT = "containerd.io/gc.ref.snapshot."


@click.command()
@click.option("--platform", help="The platform to look at, e.g. linux/arm64; this machine's by default.")
@format_option
@click.argument("image")
@click.pass_obj
def inspect(session: Session, image: str, platform: str | None, format: str) -> None:
    """Show what IMAGE is: its platforms, layers and settings, and what of it is missing here."""

    async def work(client: Client) -> dict[str, Any]:
        from corten import platforms
        from corten.client.image import find
        from corten.client.image_tree import of_platform, tree

        found = await find(client, image)
        node = await tree(client, found)
        chosen = of_platform(node, platforms.parse(platform) if platform else None)
        return await _record(client, found, node, chosen[0] if chosen else None)

    record = session.run(work)
    show_fields(_fields(record), record, format)


@click.command("tree")
@format_option
@click.argument("image")
@click.pass_obj
def tree_(session: Session, image: str, format: str) -> None:
    """Show the documents and blobs of IMAGE as a tree, and which of them are missing here."""

    async def work(client: Client) -> Node:
        from corten.client.image import find
        from corten.client.image_tree import tree

        return await tree(client, await find(client, image))

    node = session.run(work)
    if format == "json":
        return show_json(_as_json(node))
    rows = list(_lines(node, "", ""))
    for line in aligned(rows):
        click.echo(line)
    return None


@click.command()
@click.argument("image")
@click.pass_obj
def verify(session: Session, image: str) -> int:
    """Read all of IMAGE that is here, and tell what is missing or damaged; exits with 1 then.

    What an index has for platforms that were not asked for is not missing.
    """

    async def work(client: Client) -> tuple[str, list[Finding], str]:
        from corten.client.image import find
        from corten.client.image_check import left_out
        from corten.client.image_check import verify as verified
        from corten.client.image_tree import tree

        from ..bars import watched

        found = await find(client, image)
        node = await tree(client, found)
        with watched() as progress:
            findings = await verified(client, node, progress)
        apart = len(left_out(node))
        said = shown_size(node.size) + (f"; manifests for other platforms, not fetched: {apart}" if apart else "")
        return found.name, findings, said

    name, findings, said = session.run(work)
    for each in findings:
        click.echo(f"{each.problem} {each.blob.kind} {each.blob.descriptor.digest}")
    bad = [each for each in findings if each.problem == "damaged"]
    if findings:
        remedy = "remove and pull it again" if bad else "pull it again, with all its platforms"
        click.echo(f"{name}: {len(bad)} damaged, {len(findings) - len(bad)} missing ({remedy})", err=True)
        return 1
    click.echo(f"{name}: whole, {said}")
    return 0


async def _record(client: Client, found: Image, node: Node, manifest: Node | None) -> dict[str, Any]:
    from corten.oci_image import documents

    record: dict[str, Any] = {
        "name": found.name,
        "media_type": found.target.media_type,
        "digest": found.target.digest,
        "created_at": found.created_at,
        "labels": dict(found.labels),
        "platforms": [str(each.platform or "unknown") for each in node.manifests()],
        "complete": [str(each.platform or "unknown") for each in node.manifests() if not each.missing],
        "size": node.size,
        "missing": [{"kind": each.kind, "digest": each.descriptor.digest} for each in node.missing],
    }
    if manifest is None or not manifest.children or not manifest.children[0].present:
        return record
    config = manifest.children[0]
    document = documents.load(
        await client.content.read_all(config.descriptor.digest, documents.MAX_SIZE), config.descriptor.digest
    )
    return record | {
        "platform": str(manifest.platform or "unknown"),
        "manifest": manifest.descriptor.digest,
        "layers": [
            {"digest": each.descriptor.digest, "size": each.descriptor.size, "media_type": each.descriptor.media_type}
            for each in manifest.children[1:]
            if each.kind != "referrer"
        ],
        "snapshots": {
            key.removeprefix(_SNAPSHOT): value
            for key, value in (config.labels or {}).items()
            if key.startswith(_SNAPSHOT)
        },
        "config": document,
    }


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    missing = record["missing"]
    fields = {
        "Name": record["name"],
        "Digest": record["digest"],
        "Type": record["media_type"],
        "Created": age(record["created_at"]),
        "Platforms": ", ".join(record["platforms"]) or "-",
        "Complete": ", ".join(record["complete"]) or "-",
        "Size": shown_size(record["size"]),
        "Missing": f"{len(missing)} blobs (`corten image tree` names them)" if missing else "nothing",
    }
    if "config" in record:
        settings = record["config"].get("config") or {}
        fields |= {
            "Platform": record["platform"],
            "Layers": len(record["layers"]),
            "Unpacked": ", ".join(record["snapshots"]) or "no",
            "Entrypoint": _words(settings.get("Entrypoint")),
            "Command": _words(settings.get("Cmd")),
            "User": settings.get("User") or "-",
            "Directory": settings.get("WorkingDir") or "-",
        }
    return fields | ({"Labels": ", ".join(f"{k}={v}" for k, v in record["labels"].items())} if record["labels"] else {})


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) and value else "-"


def _lines(node: Node, prefix: str, below: str) -> Any:
    here = "" if node.present else "missing"
    platform = f" {node.platform}" if node.platform else ""
    yield [f"{prefix}{node.kind}{platform}", node.descriptor.digest, shown_size(node.descriptor.size), here]
    for number, child in enumerate(node.children):
        last = number == len(node.children) - 1
        yield from _lines(child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}")


def _as_json(node: Node) -> dict[str, Any]:
    return {
        "kind": node.kind,
        "media_type": printable(node.descriptor.media_type),
        "digest": node.descriptor.digest,
        "size": node.descriptor.size,
        "platform": str(node.platform) if node.platform else None,
        "present": node.present,
        "children": [_as_json(child) for child in node.children],
    }
