"""Decisions about lists of mounts: who does what, templates, options. Nothing is mounted."""

import os
import stat
from pathlib import Path

import pytest
from corten.contracts.mounts import ActiveMount, Mount
from corten.errors import CortenError, FailedPrecondition, InvalidArgument
from corten_mounts import directories, filesystems, templates
from corten_mounts.places import Places
from corten_mounts.plan import plan
from hypothesis import given
from hypothesis import strategies as st

ACTIVE = [ActiveMount(Mount("bind", f"/src{n}", f"/t{n}"), f"/mnt/{n}", 1) for n in range(3)]


@pytest.mark.parametrize(
    ("types", "fields", "made"),
    [
        (["overlay"], {}, -1),
        (["bind", "overlay"], {}, -1),
        (["loop"], {}, 1),
        (["loop", "ext4"], {}, 1),
        (["loop", "format/ext4"], {}, 1),
        (["ext4", "format/overlay"], {}, 1),
        (["format/overlay"], {}, 0),
        (["ext4", "format/mkdir/overlay"], {}, 1),
        (["mkfs/loop", "format/ext4", "format/mkdir/overlay"], {}, 2),
        (["loop", "loop"], {}, 2),
        (["bind"], {"temporary": True}, 1),
        (["format/overlay"], {"allowed": ("format/*",)}, -1),
        (["format/overlay"], {"allowed": ("format/overlay",)}, -1),
        (["loop"], {"allowed": ("loop",)}, -1),
        (["loop", "format/ext4"], {"allowed": ("loop",)}, 1),
        (["other/loop"], {}, -1),
    ],
)
def test_how_many_are_made_here(types: list[str], fields: dict[str, object], made: int) -> None:
    found = plan([Mount(type, "x") for type in types], {"loop"}, **fields)  # type: ignore[arg-type]
    assert found.made == made


def test_prefixes_come_off_one_by_one() -> None:
    [step] = plan([Mount("format/mkdir/overlay", "x")], {}).steps
    assert step.transformers == (("format", "mkdir/overlay"), ("mkdir", "overlay")) and step.type == "overlay"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("lowerdir={{ mount 0 }}", "lowerdir=/mnt/0"),
        ("{{mount 1}}/upper", "/mnt/1/upper"),
        ("{{ source 2 }}:{{ target 1 }}", "/src2:/t1"),
        ("lowerdir={{ overlay 0 2 }}", "lowerdir=/mnt/0:/mnt/1:/mnt/2"),
        ("lowerdir={{overlay 2 0}}", "lowerdir=/mnt/2:/mnt/1:/mnt/0"),
        ("{{- mount 0 -}}", "/mnt/0"),
    ],
)
def test_templates(text: str, filled: str) -> None:
    assert templates.fill(text, ACTIVE) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{{ mount 3 }}",
        "{{ mount -1 }}",
        "{{ mount }}",
        "{{ mount 0 1 }}",
        "{{ overlay 0 }}",
        "{{ overlay 0 9 }}",
        "{{ exec 1 }}",
        "{{ mount 0",
        "{{ . }}",
        "{{ mount 0 | printf }}",
    ],
)
def test_templates_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument):
        templates.formatted(Mount("x", text), ACTIVE)


@given(st.text(max_size=40))
def test_any_text_is_filled_or_refused(text: str) -> None:
    try:
        assert "{{" in text or templates.fill(text, ACTIVE) == text
        templates.fill(text, ACTIVE)
    except InvalidArgument:
        pass


def mkdir(*values: str) -> Mount:
    return Mount(
        "overlay", "overlay", options=(*(f"{directories.PREFIX}path={value}" for value in values), "index=off")
    )


def test_directories_are_made_with_their_modes(tmp_path: Path) -> None:
    places, here = Places([tmp_path]), tmp_path
    old = os.umask(0o077)
    try:
        made = directories.made(mkdir(f"{here}/a", f"{here}/b:755", f"{here}/b/c:0700:0:0"), places)
    finally:
        os.umask(old)
    assert made.options == ("index=off",)
    assert [stat.S_IMODE((here / name).stat().st_mode) for name in ("a", "b", "b/c")] == [0o700, 0o755, 0o700]
    assert directories.made(mkdir(f"{here}/b:0755"), places).options == ("index=off",)
    with pytest.raises(FailedPrecondition):
        directories.made(mkdir(f"{here}/b:0700"), places)


@pytest.mark.parametrize("value", ["", "/x:999", "/x:700:0", "/x:4755", "/x:700:a:b"])
def test_options_for_directories_that_are_none(value: str) -> None:
    with pytest.raises(InvalidArgument):
        directories.parse(f"{directories.PREFIX}path={value}")
    with pytest.raises(InvalidArgument):
        directories.parse(f"{directories.PREFIX}other=/x")


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside, tmp_path / "root-twin"):
        folder.mkdir()
    (root / "link").symlink_to(outside)
    places = Places([root])
    for path in (f"{outside}/x", f"{tmp_path}/root-twin/x", f"{root}/../outside/x", f"{root}/link/x", "relative", "/"):
        with pytest.raises(CortenError):
            directories.made(mkdir(path), places)
        with pytest.raises(CortenError):
            filesystems.made(Mount("loop", path, options=(f"{filesystems.PREFIX}size=1MiB",)), places)
    assert list(outside.iterdir()) == [] and {p.name for p in root.iterdir()} == {"link"}


@pytest.mark.parametrize(
    "options",
    [(), ("size=0",), ("size=x",), ("size=1MiB", "fs=btrfs"), ("size=1MiB", "uuid=x"), ("size=1MiB", "flags=-F")],
)
def test_options_for_file_systems_that_are_none(tmp_path: Path, options: tuple[str, ...]) -> None:
    words = tuple(filesystems.PREFIX + word for word in options)
    with pytest.raises(InvalidArgument):
        filesystems.made(Mount("loop", f"{tmp_path}/disk", options=words), Places([tmp_path]))
    assert list(tmp_path.iterdir()) == []
