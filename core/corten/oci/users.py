"""Users of a container: names become numbers by the container's own passwd(5) and group(5), read as hostile bytes."""

import enum
from collections.abc import Iterator, Sequence

from corten.errors import InvalidArgument, NotFound
from corten.values import dataclass

from .options import User

MAX_ID = 2**31 - 1
"""The largest id accepted: above it a conversion to a signed number somewhere below could wrap, even to root."""


class GroupsPolicy(enum.Enum):
    """Which groups a process of the CRI joins beside its primary one."""

    MERGE = "merge"
    """Those asked for, and those that the image's /etc/group has its user in."""
    STRICT = "strict"
    """Only those asked for."""


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: str
    gid: str


def resolve(user: str, passwd: bytes = b"", group: bytes = b"") -> User:
    """`user` is what images and people write: empty, `NAME`, `UID`, `NAME:GROUP`, with numbers or names.

    A number needs no entry. With a group given, only that group is joined. Raises NotFound for a name without an
    entry, InvalidArgument for a number out of range or a malformed `user`.
    """
    name, colon, group_name = user.partition(":")
    if ":" in group_name or (colon and not group_name):
        raise InvalidArgument(f"user {user!r}: write it as NAME, NAME:GROUP, or with numbers in their place")
    uid, primary, account = _user(name, passwd)
    if colon:
        gid = _group(group_name, group)
        return User(uid, gid, (gid,))
    return User(uid, primary, (primary, *_memberships(account, group, primary)))


def resolve_process(
    user: str,
    passwd: bytes = b"",
    group: bytes = b"",
    supplemental: Sequence[int] = (),
    policy: GroupsPolicy = GroupsPolicy.MERGE,
) -> User:
    """As the CRI has it: `user` as in `resolve`, with the groups that `policy` says, the primary one always among them.

    Unlike in `resolve`, a group in `user` does not keep the account out of its other ones. Raises as `resolve`, and
    InvalidArgument for a supplemental group out of range.
    """
    found = resolve(user, passwd, group)
    joined = {found.gid, *(_number(str(gid), "supplemental group") for gid in supplemental)}
    if policy is GroupsPolicy.MERGE:
        _, _, account = _user(user.partition(":")[0], passwd)
        joined.update(_memberships(account, group, found.gid))
    return User(found.uid, found.gid, tuple(sorted(joined)))


def _user(name: str, passwd: bytes) -> tuple[int, int, str]:
    wanted = name or "0"
    number = _number(wanted, f"user {name!r}") if wanted.isascii() and wanted.isdigit() else None
    for account in _accounts(passwd):
        if (number is not None and account.uid == str(number)) or (number is None and account.name == wanted):
            what = f"user {account.name!r} in the image's /etc/passwd"
            return _number(account.uid, what), _number(account.gid, what), account.name
    if number is None:
        raise NotFound(f"user {name!r}: not in the image's /etc/passwd (name one that is, or give its number)")
    return number, 0, "root" if number == 0 else ""


def _group(name: str, group: bytes) -> int:
    if name.isascii() and name.isdigit():
        return _number(name, f"group {name!r}")
    for fields in _rows(group, 3):
        if fields[0] == name:
            return _number(fields[2], f"group {name!r} in the image's /etc/group")
    raise NotFound(f"group {name!r}: not in the image's /etc/group (name one that is, or give its number)")


def _memberships(account: str, group: bytes, primary: int) -> tuple[int, ...]:
    if not account:
        return ()
    rows = (f for f in _rows(group, 4) if account in f[3].split(",") and f[0] != account)
    found = {_number(f[2], f"group {f[0]!r}") for f in rows}
    return tuple(sorted(found - {primary}))


def _accounts(passwd: bytes) -> Iterator[_Account]:
    for fields in _rows(passwd, 4):
        yield _Account(fields[0], fields[2], fields[3])


def _rows(data: bytes, least: int) -> Iterator[list[str]]:
    for line in data.decode("utf-8", "replace").split("\n"):
        fields = line.strip().split(":")
        if len(fields) >= least and fields[0] and not fields[0].startswith(("#", "+", "-")):
            yield fields


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > MAX_ID:
        raise InvalidArgument(f"{what}: the id {text[:40]!r} is not a number from 0 to {MAX_ID}")
    return int(text)
