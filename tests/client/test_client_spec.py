"""Specs: the defaults, what options change, and that two specs share nothing."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from corten.errors import InvalidArgument
from corten.oci import capabilities, defaults, image_defaults, spec
from corten.oci.image_defaults import ImageDefaults
from corten.oci.options import SpecMount, SpecOptions, User
from hypothesis import given
from hypothesis import strategies as st

SHELL = ImageDefaults(entrypoint=("/init",), cmd=("serve",), env=("PATH=/bin", "A=1"), working_dir="/srv")

words = st.text(st.characters(codec="ascii", exclude_characters="\0="), min_size=1, max_size=8)
variables = st.lists(st.tuples(words, words).map("=".join), max_size=5).map(tuple)
options = st.builds(
    SpecOptions,
    args=st.lists(words, min_size=1, max_size=3).map(tuple),
    env=variables,
    memory=st.integers(0, 2**40),
    cpus=st.sampled_from([0.0, 0.5, 4.0]),
    privileged=st.booleans(),
    host_network=st.booleans(),
    terminal=st.booleans(),
    mounts=st.lists(st.builds(SpecMount, words.map("/m{}".format), words.map("/s{}".format)), max_size=3).map(tuple),
)


def build(image: ImageDefaults = SHELL, **fields: Any) -> spec.Spec:
    return spec.build("ns", "c1", SpecOptions(**fields), image)


def mutable_parts(value: Any) -> list[int]:
    """The identities of all dicts and lists within."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [id(value)] if isinstance(value, dict | list) else []
    return own + [part for item in parts for part in mutable_parts(item)]


def test_default_is_containerds() -> None:
    made = build()
    assert made["process"]["args"] == ["/init", "serve"]
    assert made["process"]["cwd"] == "/srv"
    assert made["process"]["noNewPrivileges"] is True
    assert made["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    assert made["process"]["capabilities"]["bounding"] == sorted(defaults.CAPABILITIES, key=capabilities.ALL.index)
    assert made["linux"]["cgroupsPath"] == "/ns/c1"
    assert [n["type"] for n in made["linux"]["namespaces"]] == ["pid", "ipc", "uts", "mount", "network"]
    assert made["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert {"/proc/kcore", "/sys/firmware"} <= set(made["linux"]["maskedPaths"])
    assert [m["destination"] for m in made["mounts"]][:2] == ["/proc", "/dev"]
    assert made["root"] == {"path": "rootfs"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["/init", "serve"]),
        ({"args": ("x", "y")}, ["/init", "x", "y"]),
        ({"entrypoint": ("/other",)}, ["/other"]),
        ({"entrypoint": (), "args": ("x",)}, ["x"]),
    ],
)
def test_command(fields: dict[str, Any], expected: list[str]) -> None:
    assert build(**fields)["process"]["args"] == expected


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="give one after the image"):
        build(ImageDefaults())


def test_env_sets_removes_and_keeps_order() -> None:
    assert spec.merged_env(["A=1", "B=2"], ["A=3", "C=4", "B"]) == ["A=3", "C=4"]
    assert build(env=("A",))["process"]["env"] == ["PATH=/bin"]
    assert build(ImageDefaults(cmd=("x",)))["process"]["env"] == [defaults.PATH]
    with pytest.raises(InvalidArgument):
        build(env=("=x",))


def test_terminal_has_term_unless_the_image_says() -> None:
    assert "TERM=xterm" in build(terminal=True)["process"]["env"]
    own = build(ImageDefaults(cmd=("x",), env=("TERM=vt100",)), terminal=True)["process"]["env"]
    assert "TERM=vt100" in own and "TERM=xterm" not in own


def test_limits() -> None:
    resources = build(memory=1 << 20, cpus=1.5, pids=10)["linux"]["resources"]
    assert resources["memory"] == {"limit": 1 << 20}
    assert resources["cpu"] == {"shares": 1024, "quota": 150_000, "period": 100_000}
    assert resources["pids"] == {"limit": 10}
    for bad in ({"memory": -1}, {"cpus": 0.001}, {"cpus": float("inf")}, {"cpus": float("nan")}):
        with pytest.raises(InvalidArgument):
            build(**bad)


def test_privileged_masks_nothing_and_allows_all_devices() -> None:
    made = build(privileged=True, available_capabilities=("CAP_CHOWN", "CAP_SYS_ADMIN"))
    assert "maskedPaths" not in made["linux"]
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert made["process"]["capabilities"]["effective"] == ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    assert "rw" in next(m for m in made["mounts"] if m["destination"] == "/sys")["options"]


def test_capabilities_by_name() -> None:
    assert capabilities.edited(("CAP_CHOWN",), ("net_admin",), ("chown",)) == ("CAP_NET_ADMIN",)
    assert capabilities.edited((), ("ALL",), ()) == capabilities.ALL
    assert capabilities.edited(("CAP_CHOWN",), (), ("all",)) == ()
    assert capabilities.held(0b101) == ("CAP_CHOWN", "CAP_DAC_READ_SEARCH")
    with pytest.raises(InvalidArgument, match="no such capability"):
        capabilities.edited((), ("FLY",), ())


def test_mount_replaces_the_default_at_its_place() -> None:
    made = build(mounts=(SpecMount("/run", "/srv/run"),))
    assert [m["source"] for m in made["mounts"] if m["destination"] == "/run"] == ["/srv/run"]
    for bad in (SpecMount("relative", "/x"), SpecMount("/x", "relative"), SpecMount("/a\0b", "/x")):
        with pytest.raises(InvalidArgument):
            build(mounts=(bad,))


def test_exec_inherits_what_it_does_not_change() -> None:
    base = build(user=User(5, 6, (6,)))
    made = spec.process(base, ["ls"], env=("B=2",), terminal=True)
    assert made["args"] == ["ls"] and made["cwd"] == "/srv" and made["terminal"] is True
    assert made["user"] == {"uid": 5, "gid": 6, "additionalGids": [6]}
    assert made["env"] == ["PATH=/bin", "A=1", "TERM=xterm", "B=2"]
    assert made["capabilities"] == base["process"]["capabilities"]
    assert not set(mutable_parts(made)) & set(mutable_parts(base))
    with pytest.raises(InvalidArgument):
        spec.process(base, [])


def test_no_capability_is_inheritable() -> None:
    """CVE-2022-24769: not in a container's first process, and not in an exec, whoever wrote the container's spec."""
    kinds = ("ambient", "bounding", "effective", "inheritable", "permitted")
    foreign = {"process": {"capabilities": {kind: ["CAP_KILL"] for kind in kinds}}}
    made = spec.build("ns", "c", SpecOptions(args=("x",), privileged=True))
    for found in (made["process"], spec.process(made, ["x"]), spec.process(foreign, ["x"])):
        assert set(found["capabilities"]) == {"bounding", "effective", "permitted"}


@given(first=options, second=options)
def test_specs_share_no_mutable_part(first: SpecOptions, second: SpecOptions) -> None:
    """CVE-2021-21334: variables of one container must never show up in another of the same image."""
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda wanted: spec.build("ns", "id", wanted, SHELL), (first, second))
    assert not set(mutable_parts(one)) & set(mutable_parts(two))
    before = json.dumps(two)
    one["process"]["env"].append("SECRET=1")
    one["mounts"].clear()
    assert json.dumps(two) == before


@given(options)
def test_same_input_same_document(wanted: SpecOptions) -> None:
    assert spec.build("ns", "id", wanted, SHELL) == spec.build("ns", "id", wanted, SHELL)


@pytest.mark.parametrize(
    "config", [{"Env": "A=1"}, {"Cmd": [1]}, {"User": 5}, {"Labels": ["a"]}, {"Labels": {"a": 1}}, {"Cmd": ["a\0b"]}]
)
def test_image_config_of_wrong_types_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        image_defaults.parse(config)


def test_image_config_may_leave_out_everything() -> None:
    assert image_defaults.parse({"Cmd": None, "Labels": None}) == ImageDefaults()


@pytest.mark.parametrize(
    "key",
    [
        "containerd.io/restart.loguri",
        "containerd.io/gc.root",
        "io.containerd.x",
        "io.kubernetes.pod.name",
        "",
        "k" * 4096,
    ],
)
def test_an_image_sets_no_label_that_the_host_obeys(key: str) -> None:
    """CVE-2026-53488: a log URI of scheme binary:// in an image's label would run as root on the host."""
    image = ImageDefaults(stop_signal="SIGINT", labels={key: "binary:///bin/sh", "maintainer": "me"})
    assert image_defaults.container_labels(image) == {
        "maintainer": "me",
        image_defaults.STOP_SIGNAL_LABEL: "SIGINT",
    }
