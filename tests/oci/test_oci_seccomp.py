"""The default profile by capabilities, architecture and kernel, under a real runc; profiles of files, also bad ones."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corten import platforms
from corten.errors import InvalidArgument, NotFound
from corten.oci import capabilities, defaults, seccomp, spec
from corten.oci.image_defaults import ImageDefaults
from corten.oci.options import Namespaces, Security, SpecOptions
from hypothesis import given
from hypothesis import strategies as st

AMD = seccomp.Default("amd64", (6, 1))


def allowed(profile: dict[str, Any]) -> set[str]:
    """Calls that are allowed whatever their arguments."""
    rules = [rule for rule in profile["syscalls"] if rule["action"] == seccomp.ALLOW and not rule.get("args")]
    return {name for rule in rules for name in rule["names"]}


def test_what_an_ordinary_container_may_call() -> None:
    made = seccomp.document(AMD, defaults.CAPABILITIES)
    assert made["defaultAction"] == "SCMP_ACT_ERRNO"
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    names = allowed(made)
    assert {"read", "openat2", "futex", "chroot", "arch_prctl", "ptrace", "clock_gettime"} <= names
    assert (
        not {"mount", "unshare", "setns", "bpf", "keyctl", "io_uring_setup", "init_module", "clone", "socket"} & names
    )


def test_what_arguments_decide() -> None:
    rules = seccomp.document(AMD, ())["syscalls"]
    sockets = [(r["args"][0]["op"], r["args"][0]["value"]) for r in rules if r["names"] == ["socket"]]
    assert sockets == [("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40)]
    [clone] = [r for r in rules if r["names"] == ["clone"]]
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    [clone3] = [r for r in rules if r["names"] == ["clone3"]]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_architecture_and_kernel_decide() -> None:
    assert "ptrace" not in allowed(seccomp.document(seccomp.Default("amd64", (4, 4)), ()))
    arm = seccomp.document(seccomp.Default("arm64", (6, 1)), ())
    assert "set_tls" in allowed(arm) and "arch_prctl" not in allowed(arm)
    s390 = seccomp.document(seccomp.Default("s390x", (6, 1)), ())
    assert next(r for r in s390["syscalls"] if r["names"] == ["clone"])["args"][0]["index"] == 1
    here = seccomp.document(seccomp.Default(), ())
    same = seccomp.Default(platforms.host().architecture, seccomp.host_kernel())
    assert here == seccomp.document(same, ())


@given(st.sets(st.sampled_from(capabilities.ALL)), st.sets(st.sampled_from(capabilities.ALL)))
def test_more_capabilities_never_allow_less(few: set[str], more: set[str]) -> None:
    assert allowed(seccomp.document(AMD, few)) <= allowed(seccomp.document(AMD, few | more))


def test_an_administrator_may_make_namespaces() -> None:
    made = seccomp.document(AMD, ("CAP_SYS_ADMIN",))
    assert {"mount", "clone", "clone3", "setns"} <= allowed(made)
    assert not [r for r in made["syscalls"] if r["names"] == ["clone3"]]


def test_a_spec_takes_the_profile_of_its_own_capabilities() -> None:
    made = spec.build("n", "c", SpecOptions(args=("x",), security=Security(seccomp=AMD, add=("SYS_TIME",))))
    assert "clock_settime" in allowed(made["linux"]["seccomp"])
    unconfined = SpecOptions(args=("x",), base=made, security=Security(seccomp={}))
    assert "seccomp" not in spec.build("n", "c", unconfined)["linux"]


def test_a_profile_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    wanted = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 0, "value": 1}]}
        ],
    }
    file.write_text(json.dumps({**wanted, "comment": "more"}))
    assert seccomp.load(str(file)) == wanted
    with pytest.raises(NotFound):
        seccomp.load(str(tmp_path / "none"))


def test_conditions_of_dockers_form_are_decided() -> None:
    """A rule whose condition were passed over would allow to all what is meant for an administrator."""
    rules = [
        {"names": ["read"], "action": seccomp.ALLOW, "includes": {}, "excludes": {}},
        {"names": ["mount"], "action": seccomp.ALLOW, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": seccomp.ALLOW, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["ptrace"], "action": seccomp.ALLOW, "includes": {"minKernel": "4.8"}},
        {"names": ["never"], "action": seccomp.ALLOW, "includes": {"minKernel": "999.0"}},
        {"names": ["alien"], "action": seccomp.ALLOW, "includes": {"arches": ["vax"]}},
    ]
    archs = [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]
    text = json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "archMap": archs, "syscalls": rules}).encode()
    assert allowed(seccomp.parse(text)) == {"read", "clone", "ptrace"}
    assert allowed(seccomp.parse(text, ("CAP_SYS_ADMIN",))) == {"read", "mount", "ptrace"}
    if platforms.host().architecture == "amd64":
        assert seccomp.parse(text)["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"defaultAction": "no"}',
        '{"defaultAction": "SCMP_ACT_LOG", "syscalls": {}}',
        '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [1]}',
        '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"action": "SCMP_ACT_LOG"}]}',
        '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["x"], "action": "fly"}]}',
        '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_LOG", "args": [1]}]}',
    ],
)
def test_bad_profiles(text: str) -> None:
    with pytest.raises(InvalidArgument):
        seccomp.parse(text.encode())


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("busybox is not installed")
    (tmp_path / "rootfs/bin/busybox").write_bytes(busybox.read_bytes())
    (tmp_path / "rootfs/bin/busybox").chmod(0o755)
    yield tmp_path
    subprocess.run(["runc", "--root", tmp_path / "state", "delete", "-f", "spec"], capture_output=True)


def run(bundle: Path, *args: str, **fields: Any) -> subprocess.CompletedProcess[str]:
    image = ImageDefaults(cmd=("/bin/busybox", *args))
    options = SpecOptions(cgroups_path=f"/corten-test-oci-{bundle.name}", default_devices=True, **fields)
    (bundle / "config.json").write_text(json.dumps(spec.build("ns", "spec", options, image)))
    command = ["runc", "--root", str(bundle / "state"), "run", "-b", str(bundle), "spec"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


@pytest.mark.integration
def test_runc_takes_the_profile_and_obeys(bundle: Path) -> None:
    confined = Security(seccomp=seccomp.Default(), add=("SYS_TIME",))
    assert run(bundle, "true", security=confined).returncode == 0
    denied = run(bundle, "unshare", "-m", "true", security=confined)
    assert denied.returncode != 0 and "not permitted" in denied.stderr
    assert run(bundle, "unshare", "-m", "true", security=Security(add=("SYS_ADMIN",))).returncode == 0


@pytest.mark.integration
def test_runc_takes_a_spec_with_everything(bundle: Path) -> None:
    from corten.oci import mounts
    from corten.oci.options import Resources, Rlimit, User

    made = run(
        bundle,
        *(
            "sh",
            "-c",
            "umask; hostname; ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; id -G; ls /sys/fs",
        ),
        user=User(0, 0, (0, 7), umask=0o27),
        hostname="spec-host",
        rlimits=(Rlimit("RLIMIT_NOFILE", 512, 1024),),
        sysctls={"net.ipv4.ip_unprivileged_port_start": "80"},
        mounts=(mounts.tmpfs("/t", size=1 << 20), mounts.bind("/data", str(bundle), read_only=True)),
        resources=Resources(memory=64 << 20, pids=20, cpu_shares=512),
        cgroup_mount="ro",
        namespaces=Namespaces(),
        security=Security(no_new_privileges=True, readonly_paths=()),
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.split()[:6] == ["0027", "spec-host", "512", "80", "0", "7"]
