"""Specs: the defaults, what options change, and that two specs share nothing."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from corten.errors import InvalidArgument
from corten.oci import capabilities, defaults, image_defaults, mounts, resources, seccomp, spec
from corten.oci.image_defaults import ImageDefaults
from corten.oci.options import (
    Device,
    Hook,
    IdMapping,
    Namespaces,
    Rdt,
    Resources,
    Rlimit,
    Security,
    SpecMount,
    SpecOptions,
    User,
)
from hypothesis import given
from hypothesis import strategies as st

SHELL = ImageDefaults(entrypoint=("/init",), cmd=("serve",), env=("PATH=/bin", "A=1"), working_dir="/srv")

words = st.text(st.characters(codec="ascii", exclude_characters="\0="), min_size=1, max_size=8)
variables = st.lists(st.tuples(words, words).map("=".join), max_size=5).map(tuple)
paths = st.none() | st.just("") | words.map("/run/ns/{}".format)
limits = st.none() | st.integers(0, 2**40)
capability_names = st.lists(st.sampled_from([*capabilities.ALL, "ALL", "net_admin"]), max_size=3).map(tuple)
SECCOMP = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
options = st.builds(
    SpecOptions,
    args=st.lists(words, min_size=1, max_size=3).map(tuple),
    env=variables,
    terminal=st.booleans(),
    user=st.builds(User, st.integers(0, 9), st.integers(0, 9), umask=st.none() | st.integers(0, 0o777)),
    mounts=st.lists(st.builds(SpecMount, words.map("/m{}".format), words.map("/s{}".format)), max_size=3).map(tuple),
    rlimits=st.none() | st.just((Rlimit("RLIMIT_CORE", 0, 0),)),
    namespaces=st.none() | st.builds(Namespaces, pid=paths, ipc=paths, network=paths, user=paths, cgroup=paths),
    resources=st.builds(
        Resources, memory=limits, pids=limits, cpu_shares=limits, block_io=st.none() | st.just({"weight": 10})
    ),
    security=st.builds(
        Security,
        add=capability_names,
        drop=capability_names,
        privileged=st.booleans(),
        seccomp=st.none() | st.just(seccomp.Default("amd64", (6, 1))) | st.just(SECCOMP),
        masked_paths=st.none() | st.just(()) | st.just(("/proc/kcore",)),
    ),
    devices=st.just(()) | st.just((Device("/dev/fuse", "c", 10, 229),)),
    all_devices=st.booleans(),
    cgroup_mount=st.sampled_from(["", "ro", "rw"]),
    hooks=st.just({}) | st.just({"poststop": (Hook("/bin/true", ("true",)),)}),
    base=st.none() | st.just({"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]}, "mounts": []}),
)


def build(image: ImageDefaults = SHELL, **fields: Any) -> spec.Spec:
    return spec.build("ns", "c1", SpecOptions(**fields), image)


def built_or_none(wanted: SpecOptions) -> spec.Spec | None:
    """None for options that contradict each other."""
    try:
        return spec.build("ns", "id", wanted, SHELL)
    except InvalidArgument:
        return None


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
    assert set(made["process"]["capabilities"]["bounding"]) == set(defaults.CAPABILITIES)
    assert made["linux"]["cgroupsPath"] == "/ns/c1"
    assert [n["type"] for n in made["linux"]["namespaces"]] == ["pid", "ipc", "uts", "mount", "network"]
    assert made["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert {"/proc/kcore", "/sys/firmware", "/sys/devices/virtual/powercap"} <= set(made["linux"]["maskedPaths"])
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


def test_an_entrypoint_that_is_one_empty_word_is_none() -> None:
    assert build(ImageDefaults(entrypoint=("",), cmd=("x",)))["process"]["args"] == ["x"]


def test_what_is_set_for_all_gives_way_to_the_image_and_that_to_who_asks() -> None:
    image = ImageDefaults(cmd=("x",), env=("PATH=/bin", "A=image"))
    made = build(image, default_env=("A=all", "B=all", "C=all"), env=("B=mine",))
    assert made["process"]["env"] == ["A=image", "B=mine", "C=all", "PATH=/bin"]


def test_limits() -> None:
    wanted = Resources(
        memory=1 << 20,
        memory_swap=-1,
        cpu_quota=resources.quota(1.5),
        cpu_period=resources.PERIOD,
        cpuset_cpus="0-1",
        pids=10,
        hugepages=(("2MB", 4096),),
        unified={"memory.high": "max"},
        rdt=Rdt("gold"),
    )
    made = build(resources=wanted)["linux"]
    assert made["resources"] == {
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": {"limit": 1 << 20, "swap": -1},
        "cpu": {"quota": 150_000, "period": 100_000, "cpus": "0-1"},
        "pids": {"limit": 10},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "unified": {"memory.high": "max"},
    }
    assert made["intelRdt"] == {"closID": "gold"}
    for bad in (Resources(memory=-2), Resources(cpu_shares=-1), Resources(hugepages=(("2MB", -1),))):
        with pytest.raises(InvalidArgument):
            build(resources=bad)
    for cpus in (0.001, float("inf"), float("nan"), -1):
        with pytest.raises(InvalidArgument):
            resources.quota(cpus)


def test_privileged_masks_nothing() -> None:
    made = build(
        security=Security(
            privileged=True,
            available=("CAP_CHOWN", "CAP_SYS_ADMIN"),
            seccomp=seccomp.Default(),
            apparmor="profile",
            selinux_label="label",
        ),
        all_devices=True,
        cgroup_mount="ro",
    )
    assert not {"maskedPaths", "readonlyPaths", "seccomp"} & set(made["linux"])
    assert not {"apparmorProfile", "selinuxLabel"} & set(made["process"])
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert made["process"]["capabilities"]["effective"] == ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    for place in ("/sys", "/sys/fs/cgroup"):
        assert "rw" in next(m for m in made["mounts"] if m["destination"] == place)["options"]


def test_namespaces_are_new_joined_or_the_hosts() -> None:
    wanted = Namespaces(network="/run/netns/x", ipc=None, cgroup="", user="", uid_mappings=(IdMapping(0, 1000, 10),))
    linux = build(namespaces=wanted)["linux"]
    assert linux["namespaces"] == [
        {"type": "pid"},
        {"type": "uts"},
        {"type": "mount"},
        {"type": "network", "path": "/run/netns/x"},
        {"type": "cgroup"},
        {"type": "user"},
    ]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 10}] and linux["gidMappings"] == []
    for bad in (
        Namespaces(network="relative"),
        Namespaces(uid_mappings=(IdMapping(0, 0, 1),)),
        Namespaces(user="", uid_mappings=(IdMapping(0, 0, 10), IdMapping(5, 100, 1))),
        Namespaces(user="", uid_mappings=(IdMapping(0, 0, 10), IdMapping(20, 9, 1))),
        Namespaces(user="", uid_mappings=(IdMapping(0, 2**32 - 2, 2),)),
        Namespaces(user="", gid_mappings=(IdMapping(-1, 0, 1),)),
    ):
        with pytest.raises(InvalidArgument):
            build(namespaces=bad)


def test_sysfs_is_the_hosts_in_a_user_namespace_without_network() -> None:
    made = build(namespaces=Namespaces(user="", network=None))
    assert next(m for m in made["mounts"] if m["destination"] == "/sys")["options"][:2] == ["rbind", "rro"]


def test_cgroups_of_the_host_keep_their_super_block() -> None:
    def found(**fields: Any) -> list[str]:
        made = build(cgroup_mount="ro", cgroup_mount_options=("nsdelegate",), **fields)
        return next(m["options"] for m in made["mounts"] if m["destination"] == "/sys/fs/cgroup")

    assert "nsdelegate" in found() and "ro" in found()
    assert "nsdelegate" not in found(namespaces=Namespaces(cgroup=""))
    with pytest.raises(InvalidArgument):
        build(cgroup_mount="yes")


def test_security_fields_stand_where_the_runtime_looks() -> None:
    wanted = Security(
        no_new_privileges=False,
        apparmor="profile",
        selinux_label="a:b:c",
        mount_label="d:e:f",
        masked_paths=(),
        readonly_paths=("/proc/sys",),
        ambient=("kill", "sys_admin"),
    )
    made = build(security=wanted)
    assert made["process"]["noNewPrivileges"] is False
    assert made["process"]["apparmorProfile"] == "profile" and made["process"]["selinuxLabel"] == "a:b:c"
    assert made["linux"]["mountLabel"] == "d:e:f"
    assert made["linux"]["maskedPaths"] == [] and made["linux"]["readonlyPaths"] == ["/proc/sys"]
    # What is not permitted cannot be ambient, and nothing is inheritable for any other reason (CVE-2022-24769).
    assert made["process"]["capabilities"]["ambient"] == made["process"]["capabilities"]["inheritable"] == ["CAP_KILL"]


def test_a_base_is_kept_where_nothing_else_is_asked() -> None:
    seccomp_rules = {"defaultAction": "SCMP_ACT_LOG"}
    base = {
        "process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}], "env": ["B=1"]},
        "linux": {"seccomp": seccomp_rules, "cgroupsPath": "/elsewhere", "sysctl": {"a": "1"}},
        "annotations": {"x": "1"},
        "hooks": {"poststop": [{"path": "/bin/true"}]},
    }
    before = json.dumps(base)
    made = build(base=base, sysctls={"b": "2"}, annotations={"y": "2"}, hooks={"prestart": (Hook("/bin/x"),)})
    assert made["process"]["rlimits"] == [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]
    assert made["process"]["env"] == ["B=1", "PATH=/bin", "A=1"]
    assert made["linux"]["seccomp"] == seccomp_rules and made["linux"]["cgroupsPath"] == "/ns/c1"
    assert made["linux"]["sysctl"] == {"a": "1", "b": "2"} and made["annotations"] == {"x": "1", "y": "2"}
    assert made["hooks"] == {"poststop": [{"path": "/bin/true"}], "prestart": [{"path": "/bin/x"}]}
    assert json.dumps(base) == before
    assert "rlimits" in made["process"] and build(base=base, rlimits=())["process"]["rlimits"] == []


@pytest.mark.parametrize(
    "base",
    [
        {"process": 5},
        {"linux": [1]},
        {"mounts": {"a": 1}},
        {"mounts": [{}]},
        {"mounts": ["x"]},
        {"linux": {"namespaces": [{"path": "/x"}]}},
        {"linux": {"devices": [{"path": 5}]}},
    ],
)
def test_a_base_that_is_no_spec_is_refused(base: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="base spec"):
        build(base=base)
    assert build(base={"process": None, "mounts": None, "linux": None})["linux"]["cgroupsPath"] == "/ns/c1"


def test_hooks_are_checked() -> None:
    for bad in ({"preStart": (Hook("/x"),)}, {"poststop": (Hook("relative"),)}):
        with pytest.raises(InvalidArgument):
            build(hooks=bad)


def test_devices_come_with_their_rules() -> None:
    made = build(devices=(Device("/dev/x", "c", 10, 229, 0o600, 1, 2, "rw"), Device("/dev/y", "b", 8, 0, access="")))
    assert made["linux"]["devices"][0] == {
        "path": "/dev/x",
        "type": "c",
        "major": 10,
        "minor": 229,
        "fileMode": 0o600,
        "uid": 1,
        "gid": 2,
    }
    rules = made["linux"]["resources"]["devices"]
    assert rules == [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
    ]
    assert len(build(default_devices=True)["linux"]["resources"]["devices"]) == 10


def test_capabilities_by_name() -> None:
    assert capabilities.edited(("CAP_CHOWN",), ("net_admin",), ("chown",)) == ("CAP_NET_ADMIN",)
    assert capabilities.edited((), ("ALL",), ()) == capabilities.ALL
    assert capabilities.edited(("CAP_CHOWN",), (), ("all",)) == ()
    assert capabilities.held(0b101) == ("CAP_CHOWN", "CAP_DAC_READ_SEARCH")
    # As in the CRI: ALL first, then single names, of which a dropped one stays away.
    assert capabilities.edited(("CAP_KILL",), ("CHOWN",), ("ALL",)) == ("CAP_CHOWN",)
    assert set(capabilities.edited((), ("ALL",), ("CHOWN",))) == set(capabilities.ALL) - {"CAP_CHOWN"}
    assert capabilities.edited((), ("CHOWN",), ("CHOWN",)) == ()
    with pytest.raises(InvalidArgument, match="no such capability"):
        capabilities.edited((), ("FLY",), ())


def test_mount_replaces_the_default_at_its_place() -> None:
    made = build(mounts=(SpecMount("/run", "/srv/run"),))
    assert [m["source"] for m in made["mounts"] if m["destination"] == "/run"] == ["/srv/run"]
    for bad in (SpecMount("relative", "/x"), SpecMount("/x", "relative"), SpecMount("/a\0b", "/x")):
        with pytest.raises(InvalidArgument):
            build(mounts=(bad,))


def test_a_mount_at_dev_takes_what_is_below_it_away() -> None:
    made = build(mounts=(SpecMount("/dev/", "/dev"),), without_mounts=("/run",))
    assert [m["destination"] for m in made["mounts"]] == ["/proc", "/sys", "/dev"]


def test_usual_mounts() -> None:
    shared = mounts.bind("/a", "/x", propagation=mounts.BOTH_WAYS)
    slave = mounts.bind("/b", "/y", read_only=True, propagation=mounts.TO_CONTAINER)
    assert build(mounts=(slave, shared))["linux"]["rootfsPropagation"] == "rshared"
    assert build(mounts=(slave,))["linux"]["rootfsPropagation"] == "rslave"
    assert build(mounts=(slave,), rootfs_propagation="private")["linux"]["rootfsPropagation"] == "private"
    assert "rootfsPropagation" not in build(mounts=(mounts.bind("/a", "/x"),))["linux"]
    assert mounts.bind("/a", "/x", read_only=True, recursively=True).options == ("rbind", "rprivate", "rro")
    for wrong in ({"read_only": False}, {"read_only": True, "propagation": "rshared"}):
        with pytest.raises(InvalidArgument):
            mounts.bind("/a", "/x", recursively=True, **wrong)
    assert "size=4096" in mounts.tmpfs("/t", size=4096).options
    assert [m.destination for m in mounts.by_depth([SpecMount("/a/b", "/x"), SpecMount("/c/", "/x")])] == [
        "/c/",
        "/a/b",
    ]
    mapped = SpecMount("/a", "/x", uid_mappings=(IdMapping(0, 5, 1),), gid_mappings=(IdMapping(0, 6, 1),))
    assert mounts.document(mapped)["gidMappings"] == [{"containerID": 0, "hostID": 6, "size": 1}]


def test_size_of_shared_memory() -> None:
    made = build(shm_size=1 << 20)
    shm = next(m["options"] for m in made["mounts"] if m["destination"] == "/dev/shm")
    assert [word for word in shm if word.startswith("size=")] == ["size=1048576"]


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
    made = spec.build("ns", "c", SpecOptions(args=("x",), security=Security(privileged=True)))
    for found in (made["process"], spec.process(made, ["x"]), spec.process(foreign, ["x"])):
        assert set(found["capabilities"]) == {"bounding", "effective", "permitted"}


@given(first=options, second=options)
def test_specs_share_no_mutable_part(first: SpecOptions, second: SpecOptions) -> None:
    """CVE-2021-21334: variables of one container must never show up in another of the same image."""
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(built_or_none, (first, second))
    if one is None or two is None:
        return
    given = [part for wanted in (first, second) for part in mutable_parts([wanted.base, wanted.security.seccomp])]
    assert not set(mutable_parts(one)) & set(mutable_parts(two))
    assert not set(mutable_parts(one)) & set(given)
    before = json.dumps(two)
    one["process"]["env"].append("SECRET=1")
    one["mounts"].clear()
    assert json.dumps(two) == before


@given(options)
def test_same_input_same_document(wanted: SpecOptions) -> None:
    assert built_or_none(wanted) == built_or_none(wanted)


@given(options)
def test_what_is_built_holds_together(wanted: SpecOptions) -> None:
    if (made := built_or_none(wanted)) is None:
        return
    held = made["process"]["capabilities"]
    assert held["bounding"] == held["effective"] == held["permitted"]
    places = [mount["destination"] for mount in made["mounts"]]
    assert all(place.startswith("/") for place in places)
    kinds = [entry["type"] for entry in made["linux"].get("namespaces", ())]
    assert len(kinds) == len(set(kinds))
    json.loads(json.dumps(made))


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
