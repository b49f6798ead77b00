"""Devices by the Container Device Interface: descriptions, names, conflicts, and what they do to a container."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, FailedPrecondition, InvalidArgument, NotFound
from corten.pools import Pools
from corten_cri.cdi.devices import CdiDevices
from corten_cri.cdi.names import checked, wanted
from cri.cri_world import Cri

SPEC: dict[str, Any] = {
    "process": {"env": ["PATH=/bin", "OLD=1"], "user": {"uid": 5, "gid": 0, "additionalGids": [7]}},
    "mounts": [{"destination": "/a/b"}, {"destination": "/x", "source": "/old"}],
    "linux": {"devices": [{"path": "/dev/null", "type": "c", "major": 9, "minor": 9}]},
}


def description(**changes: Any) -> dict[str, Any]:
    """One of a null device and more."""
    device = {
        "name": "one",
        "containerEdits": {
            "env": ["NEW=2", "OLD=3"],
            "deviceNodes": [{"path": "/dev/null"}, {"path": "/dev/made", "hostPath": "/dev/zero", "permissions": "r"}],
            "mounts": [{"hostPath": "/h", "containerPath": "/x", "options": ["ro", "bind"]}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "x"], "timeout": 5}],
        },
    }
    return {"cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "devices": [device], **changes}


def one(edits: dict[str, Any], name: str = "one") -> list[dict[str, Any]]:
    return [{"name": name, "containerEdits": edits}]


def write(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(content) if name.endswith(".json") else yaml.safe_dump(content))
    return path


async def injected(
    *folders: Path, devices: list[str] | None = None, spec: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The spec with the devices in it."""
    pools = Pools()
    try:
        edited: dict[str, Any] = json.loads(json.dumps(SPEC if spec is None else spec))
        await CdiDevices([str(each) for each in folders], pools).inject(edited, devices or ["vendor.com/gpu=one"], {})
        return edited
    finally:
        pools.close()


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
async def test_a_device_edits_the_spec(tmp_path: Path, name: str) -> None:
    own = {"env": ["ALWAYS=yes"], "additionalGids": [0, 7, 8], "intelRdt": {"closID": "gold", "schemata": ["L3:0=f"]}}
    write(tmp_path, name, description(cdiVersion="1.1.0", containerEdits=own))
    made = await injected(tmp_path)
    assert made["process"]["env"] == ["PATH=/bin", "OLD=3", "ALWAYS=yes", "NEW=2"]
    assert made["process"]["user"]["additionalGids"] == [7, 8], "group 0 is never added"
    devices = {each["path"]: each for each in made["linux"]["devices"]}
    assert (devices["/dev/null"]["major"], devices["/dev/null"]["minor"]) == (1, 3), "in the place of the other"
    assert (devices["/dev/made"]["major"], devices["/dev/made"]["minor"], devices["/dev/made"]["uid"]) == (1, 5, 5)
    rules = made["linux"]["resources"]["devices"]
    assert [(each["minor"], each["access"]) for each in rules] == [(3, "rwm"), (5, "r")]
    assert [each["destination"] for each in made["mounts"]] == ["/x", "/a/b"], "parents first"
    assert made["mounts"][0] == {"destination": "/x", "source": "/h", "options": ["ro", "bind"]}
    hook = {"path": "/bin/hook", "args": ["hook", "x"], "timeout": 5}
    assert made["hooks"] == {"createContainer": [hook]}
    assert made["linux"]["intelRdt"] == {"closID": "gold", "schemata": ["L3:0=f"]}


async def test_net_devices_and_idmapped_mounts_in_a_user_namespace(tmp_path: Path) -> None:
    edits = {
        "netDevices": [{"hostInterfaceName": "eth9", "name": "in0"}],
        "mounts": [{"hostPath": "/h", "containerPath": "/y", "options": ["rbind"], "type": "none"}],
    }
    write(tmp_path, "a.json", description(cdiVersion="1.1.0", devices=one(edits)))
    made = await injected(tmp_path, spec={"linux": {"namespaces": [{"type": "user"}]}})
    assert made["linux"]["netDevices"] == {"eth9": {"name": "in0"}}
    assert made["mounts"][0]["options"] == ["rbind", "ridmap"]


async def test_the_edits_of_the_description_are_applied_once_for_several_devices(tmp_path: Path) -> None:
    devices = [*one({"env": ["A=1"]}, "a"), *one({"env": ["B=1"]}, "b")]
    hooks = {"hooks": [{"hookName": "poststop", "path": "/h"}]}
    write(tmp_path, "a.yml", description(devices=devices, containerEdits=hooks))
    made = await injected(tmp_path, devices=["vendor.com/gpu=b", "vendor.com/gpu=a"])
    assert len(made["hooks"]["poststop"]) == 1 and made["process"]["env"][-2:] == ["B=1", "A=1"]


async def test_a_folder_that_comes_later_wins_and_two_of_the_same_folder_are_a_conflict(tmp_path: Path) -> None:
    low, high = tmp_path / "etc", tmp_path / "run"
    write(low, "a.json", description(devices=one({"env": ["FROM=low"]})))
    write(low, "b.json", description(devices=one({"env": ["FROM=other"]})))
    with pytest.raises(FailedPrecondition, match=r"a\.json and .*b\.json both describe it"):
        await injected(low)
    write(high, "c.json", description(devices=one({"env": ["FROM=high"]})))
    assert "FROM=high" in (await injected(low, high))["process"]["env"]


async def test_files_that_change_are_read_again(tmp_path: Path) -> None:
    pools = Pools()
    cdi, spec = CdiDevices([str(tmp_path / "none"), str(tmp_path)], pools), dict(SPEC)
    try:
        with pytest.raises(NotFound, match="nothing in"):
            await cdi.inject(spec, ["vendor.com/gpu=one"], {})
        assert spec == SPEC, "what fails leaves the spec as it is"
        for value in ("first", "second"):
            write(tmp_path, "a.json", description(devices=one({"env": [f"V={value}"]})))
            made: dict[str, Any] = {}
            await cdi.inject(made, [], {"cdi.k8s.io/plugin_1": "vendor.com/gpu=one"})
            assert made["process"]["env"] == [f"V={value}"]
        (tmp_path / "a.json").unlink()
        with pytest.raises(NotFound):
            await cdi.inject({}, ["vendor.com/gpu=one"], {})
    finally:
        pools.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cdiVersion": "9.0.0"}, "cdiVersion '9.0.0' is not known"),
        ({"kind": "gpu"}, "is not vendor/class"),
        ({"kind": "vendor.com/1gpu"}, "is not vendor/class"),
        ({"devices": []}, "has no devices"),
        ({"devices": one({})}, "has no containerEdits"),
        ({"devices": [*one({"env": ["A=1"]}), *one({"env": ["A=1"]})]}, "is there twice"),
        ({"devices": one({"env": ["NOVALUE"]})}, "is not NAME=VALUE"),
        ({"devices": one({"hooks": [{"hookName": "never", "path": "/x"}]})}, "there is no hook 'never'"),
        ({"devices": one({"deviceNodes": [{"path": "/dev/x", "type": "z"}]})}, "none of b, c, u, p"),
        ({"devices": one({"deviceNodes": [{"path": "/dev/x", "permissions": "q"}]})}, "not of rwm"),
        ({"devices": one({"mounts": [{"hostPath": "/x"}]})}, "needs hostPath and containerPath"),
        ({"cdiVersion": "0.7.0", "devices": one({"intelRdt": {"closID": "a/b"}})}, "not the name of a directory"),
        ({"devices": one({"intelRdt": {"closID": "a"}})}, "is of version 0.7.0 on"),
        ({"cdiVersion": "0.3.0", "devices": one({"mounts": [{"hostPath": "/x", "containerPath": "/", "type": "n"}]})},
         "is of version 0.4.0 on"),
        ({"unknown": 1}, "unknown is not a known key"),
        ({"devices": one({"env": "A=1"})}, "must be a list"),
    ],
)  # fmt: skip
async def test_a_description_that_is_wrong_is_named_with_its_fault(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write(tmp_path, "bad.json", description(**changes))
    with pytest.raises(NotFound, match=r"nothing in .* describes it") as raised:
        await injected(tmp_path)
    assert message in str(raised.value) and "bad.json" in str(raised.value)


async def test_a_device_that_is_not_on_the_host_is_an_error_unless_it_is_fully_described(tmp_path: Path) -> None:
    write(tmp_path, "a.json", description(devices=one({"deviceNodes": [{"path": "/dev/none-of-that"}]})))
    with pytest.raises(NotFound, match="/dev/none-of-that"):
        await injected(tmp_path)
    whole = {"path": "/dev/none-of-that", "type": "c", "major": 1, "minor": 3}
    write(tmp_path, "a.json", description(devices=one({"deviceNodes": [whole]})))
    assert (await injected(tmp_path))["linux"]["devices"][-1]["minor"] == 3
    write(tmp_path, "a.json", description(devices=one({"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc"}]})))
    with pytest.raises(InvalidArgument, match="it is no device"):
        await injected(tmp_path)


@pytest.mark.parametrize(
    "name", ["gpu", "vendor.com/gpu", "/gpu=0", "vendor/=0", "v/c=", "v/c=-x", "v;/c=1", "v/c=a b"]
)
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="CDI device"):
        checked(name)


def test_devices_of_request_and_annotations_count_once() -> None:
    annotations = {"cdi.k8s.io/b": "v/c=2,v/c=3", "cdi.k8s.io/a": "v/c=1", "other/cdi": "v/c=9"}
    assert wanted(["v/c=2"], annotations) == ["v/c=2", "v/c=1", "v/c=3"]
    with pytest.raises(InvalidArgument):
        wanted([], {"cdi.k8s.io/a": "v/c=1,"})


@pytest.mark.integration
@pytest.mark.parametrize("way", ["field", "annotation"])
async def test_a_container_gets_its_device(cri: Cri, way: str) -> None:
    edits = {"env": [f"WAY={way}"], "deviceNodes": [{"path": "/dev/given", "hostPath": "/dev/zero"}]}
    write(cri.node.cdi, "given.json", description(kind="corten.test/dev", devices=one(edits, "given")))
    pod = await cri.run_pod()
    asked: dict[str, Any] = {"CDI_devices": [pb.CDIDevice(name="corten.test/dev=given")]}
    if way == "annotation":
        asked = {"annotations": {"cdi.k8s.io/test": "corten.test/dev=given"}}
    printed = await cri.printed(pod, "sh", "-c", "echo $WAY; head -c 3 /dev/given | wc -c", **asked)
    assert printed.split() == [way, "3"]
    with pytest.raises(NotFound, match=r"corten\.test/dev=none"):
        await cri.create(pod, cri.config("true", CDI_devices=[pb.CDIDevice(name="corten.test/dev=none")]))
    with pytest.raises(CortenError, match="vendor/class=name"):
        await cri.create(pod, cri.config("true", CDI_devices=[pb.CDIDevice(name="nonsense")]))


@pytest.mark.integration
async def test_cve_2026_53492_devices_come_from_the_request_only(cri: Cri, tmp_path: Path) -> None:
    """What an image says in its config, labels say, asks for no device."""
    import images

    config = {"Labels": {"cdi.k8s.io/evil": "corten.test/dev=secret"}, "Cmd": ["sleep", "100"]}
    write(
        cri.node.cdi, "secret.json", description(kind="corten.test/dev", devices=one({"env": ["SECRET=1"]}, "secret"))
    )
    images.push(images.write_layout(tmp_path / "l", [images.base_layer], config=config), cri.node.image("evil"))
    await cri.pull("evil")
    pod = await cri.run_pod()
    container = await cri.started(pod, image="evil")
    assert "SECRET" not in await cri.output(container, "env")


def test_the_world_has_the_devices_that_these_tests_use() -> None:
    assert os.path.exists("/dev/zero") and os.path.exists("/dev/null")
