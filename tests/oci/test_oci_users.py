"""Users by the image's passwd and group: names, numbers, and files made to harm."""

import os
from pathlib import Path

import pytest
from corten.errors import InvalidArgument, NotFound
from corten.oci import rootfs, users
from corten.oci.options import User
from corten.oci.users import GroupsPolicy
from hypothesis import given
from hypothesis import strategies as st

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:\nbig:x:4294967296:0::/:\nneg:x:-1:0::/:\n# comment\nbroken\n"
GROUP = b"root:x:0:\nweb:x:33:\nlogs:x:100:web,other\nmore:x:7:web\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", User(0, 0, (0,))),
        ("web", User(33, 33, (33, 7, 100))),
        ("33", User(33, 33, (33, 7, 100))),
        ("web:logs", User(33, 100, (100,))),
        ("1234", User(1234, 0, (0,))),
        ("1234:5678", User(1234, 5678, (5678,))),
        ("web:0", User(33, 0, (0,))),
    ],
)
def test_resolve(user: str, expected: User) -> None:
    assert users.resolve(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("user", "supplemental", "policy", "groups"),
    [
        ("web", (), GroupsPolicy.MERGE, (7, 33, 100)),
        ("web", (5,), GroupsPolicy.STRICT, (5, 33)),
        ("33:9", (5,), GroupsPolicy.MERGE, (5, 7, 9, 100)),
        ("33:9", (5,), GroupsPolicy.STRICT, (5, 9)),
        ("1234", (5,), GroupsPolicy.MERGE, (0, 5)),
        ("", (), GroupsPolicy.MERGE, (0,)),
    ],
)
def test_groups_of_a_process(
    user: str, supplemental: tuple[int, ...], policy: GroupsPolicy, groups: tuple[int, ...]
) -> None:
    assert users.resolve_process(user, PASSWD, GROUP, supplemental, policy).additional_gids == groups


@pytest.mark.parametrize("gid", [-1, 2**31, 2**32])
def test_supplemental_groups_out_of_range(gid: int) -> None:
    with pytest.raises(InvalidArgument):
        users.resolve_process("", PASSWD, GROUP, (gid,))


@pytest.mark.parametrize("user", ["nobody", "web:nogroup", "٣٣"])
def test_unknown_names(user: str) -> None:
    with pytest.raises(NotFound, match="give its number"):
        users.resolve(user, PASSWD, GROUP)


@pytest.mark.parametrize(
    "user", ["2147483648", "4294967296", "0:2147483648", "big", "neg", "a:b:c", "web:", "9" * 5000]
)
def test_numbers_out_of_range(user: str) -> None:
    """CVE-2024-40635: an id that wraps must never end up as root."""
    with pytest.raises(InvalidArgument):
        users.resolve(user, PASSWD, GROUP)


@pytest.mark.parametrize("number", ["2147483648", "4294967296", "99999999999999999999"])
def test_a_number_is_never_a_name(number: str) -> None:
    """CVE-2026-46680: an image's account that is called like a number out of range must not be taken, least as root."""
    with pytest.raises(InvalidArgument):
        users.resolve(number, f"{number}:x:0:0::/:/bin/sh\n".encode())
    with pytest.raises(InvalidArgument):
        users.resolve(f"0:{number}", b"", f"{number}:x:0:\n".encode())


@given(st.text(max_size=20), st.binary(max_size=200), st.binary(max_size=200))
def test_hostile_bytes_only_raise_corten_errors(user: str, passwd: bytes, group: bytes) -> None:
    try:
        found = users.resolve(user, passwd, group)
    except (InvalidArgument, NotFound):
        return
    assert all(0 <= number <= users.MAX_ID for number in (found.uid, found.gid, *found.additional_gids))


def test_files_are_read_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_bytes(PASSWD)
    (root / "etc/group").write_bytes(GROUP)
    assert rootfs.resolve_user(root, "web") == User(33, 33, (33, 7, 100))


def test_links_cannot_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"evil:x:0:0::/:\n")
    (root / "inside").write_bytes(PASSWD)
    for target, text in (("../../../../outside", b""), (str(tmp_path / "outside"), b""), ("/inside", PASSWD)):
        (root / "etc/passwd").unlink(missing_ok=True)
        (root / "etc/passwd").symlink_to(target)
        assert rootfs.read(root, "etc/passwd") == text


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    fifo = tmp_path / "etc/passwd"
    os.mkfifo(fifo)
    with pytest.raises(InvalidArgument, match="not a regular file"):
        rootfs.read(tmp_path, "etc/passwd")
    fifo.unlink()
    with fifo.open("wb") as file:
        file.truncate(rootfs.MAX_SIZE + 1)
    with pytest.raises(InvalidArgument, match="bytes"):
        rootfs.read(tmp_path, "etc/passwd")


def test_missing_files_are_empty(tmp_path: Path) -> None:
    assert rootfs.read(tmp_path, "etc/passwd") == b""
    assert rootfs.resolve_user(tmp_path, "5:6") == User(5, 6, (6,))
    (tmp_path / "etc").write_text("a file where a directory should be")
    assert rootfs.read(tmp_path, "etc/passwd") == b""
