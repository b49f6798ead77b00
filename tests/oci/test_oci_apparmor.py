"""The default AppArmor profile as text, and as the parser takes it where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest
from corten.errors import FailedPrecondition, NotFound
from corten.linux import apparmor


def test_the_profile_denies_what_is_the_hosts(tmp_path: Path) -> None:
    text = apparmor.profile("box", "/usr/bin/cortend", tmp_path)
    assert text.startswith("@{PROC}=/proc/\nprofile box flags=(attach_disconnected,mediate_deleted) {")
    for rule in ("deny mount,", "deny @{PROC}/kcore rwklx,", "deny /sys/devices/virtual/powercap/** rwklx,", "umount,"):
        assert f"\n  {rule}\n" in text
    assert "peer=/usr/bin/cortend," in text and "ptrace (trace,tracedby,read,readby) peer=box," in text
    assert text.count("{") == text.count("}") and "#include" not in text


def test_the_distributions_files_are_used_where_they_are(tmp_path: Path) -> None:
    for name in ("abstractions/base", "tunables/global", "abi/3.0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = apparmor.profile("box", "unconfined", tmp_path)
    assert text.startswith("abi <abi/3.0>,\n#include <tunables/global>\n") and "abstractions/base" in text
    assert text.count("peer=unconfined,") == 1


@pytest.mark.parametrize("name", ["", "a b", "a{", 'a"', "a\nb"])
def test_names_that_would_change_the_text_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition):
        apparmor.profile(name, "unconfined", tmp_path)


def test_what_is_loaded(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    profiles.write_text("box (enforce)\nlonger-box (complain)\n/usr/bin/x (enforce)\n")
    assert apparmor.loaded("box", str(profiles)) and apparmor.loaded("/usr/bin/x", str(profiles))
    assert not apparmor.loaded("longer", str(profiles)) and not apparmor.loaded("bo", str(profiles))
    with pytest.raises(NotFound):
        apparmor.loaded("box", str(tmp_path / "none"))


def test_whether_the_kernel_has_it(tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("N\n")
    assert not apparmor.enabled(str(tmp_path / "enabled")) and not apparmor.enabled(str(tmp_path / "none"))


def test_the_parser_takes_it(tmp_path: Path) -> None:
    parser = shutil.which("apparmor_parser")
    if parser is None:
        pytest.skip("apparmor_parser is not installed")
    text = apparmor.profile("box", "unconfined", Path(apparmor.FOLDER))
    done = subprocess.run([parser, "-QK"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
