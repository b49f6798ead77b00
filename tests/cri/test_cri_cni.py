"""CNI: what plugins are told and asked, in which order, and that nothing they gave outlives a failure or a crash."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, DeadlineExceeded, FailedPrecondition

if sys.platform == "win32":
    pytest.skip("CNI as here is Linux's", allow_module_level=True)

from corten_cri.cni import chain
from corten_cri.cni.invocation import Plugins
from cri.cni_world import World, until, world


@pytest.fixture
async def cni(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


# ------------------------------------------------------------------ what plugins see


async def test_plugins_run_in_order_each_with_the_result_of_the_one_before(cni: World) -> None:
    cni.network_of("first", "second", "third")
    network = await cni.network()
    assert await network.setup(cni.pod()) == ("10.9.8.7",)
    assert cni.sequence() == ["ADD first", "ADD second", "ADD third"]
    inputs = [call["input"] for call in cni.calls()]
    assert "prevResult" not in inputs[0]
    assert inputs[1]["prevResult"]["ips"] == [{"address": "10.9.8.7/24", "interface": 0}]
    assert all(each["name"] == "test" and each["cniVersion"] == "1.0.0" for each in inputs)
    await network.teardown(cni.pod())
    assert cni.sequence()[3:] == ["DEL third", "DEL second", "DEL first"]
    assert all(call["input"]["prevResult"]["ips"] for call in cni.calls("DEL"))


async def test_plugins_are_told_which_pod_it_is(cni: World) -> None:
    cni.network_of("one")
    network = await cni.network()
    await network.setup(cni.pod("abc123", "/proc/self/ns/net"))
    (call,) = cni.calls()
    assert (call["container"], call["netns"], call["ifname"]) == ("abc123", "/proc/self/ns/net", "eth0")
    assert call["path"] == str(cni.folder / "bin")
    told = dict(part.split("=") for part in call["args"].split(";"))
    assert told == {
        "IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "prod", "K8S_POD_NAME": "web",
        "K8S_POD_INFRA_CONTAINER_ID": "abc123", "K8S_POD_UID": "u-1",
    }  # fmt: skip


async def test_capabilities_go_to_the_plugins_that_name_them(cni: World) -> None:
    cni.fake("asks", "asks-not")
    wanted = {
        "portMappings": True, "bandwidth": True, "dns": True, "cgroupPath": True, "mac": True, "ips": False,
        "io.kubernetes.cri.pod-annotations": True,
    }  # fmt: skip
    plugins = [{"type": "asks", "capabilities": wanted}, {"type": "asks-not"}]
    cni.configure("10.conflist", {"cniVersion": "1.0.0", "name": "test", "plugins": plugins})
    network = await cni.network()
    pod = cni.pod(
        annotations={"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1Ki"},
        port_mappings=[
            pb.PortMapping(host_port=8080, container_port=80, protocol=pb.UDP, host_ip="127.0.0.1"),
            pb.PortMapping(container_port=81),
        ],
        dns_config=pb.DNSConfig(servers=["10.0.0.10"], searches=["cluster.local"], options=["ndots:5"]),
        linux=pb.LinuxPodSandboxConfig(cgroup_parent="/kubepods"),
    )
    await network.setup(pod)
    told, nothing = (call["input"].get("runtimeConfig") for call in cni.calls())
    assert nothing is None
    assert told["portMappings"] == [{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"}]
    burst = 2**32 - 1
    assert told["bandwidth"] == {
        "ingressRate": 10_000_000, "ingressBurst": burst, "egressRate": 1024, "egressBurst": burst,
    }  # fmt: skip
    assert told["dns"] == {"servers": ["10.0.0.10"], "searches": ["cluster.local"], "options": ["ndots:5"]}
    assert told["cgroupPath"] == "/kubepods"
    assert told["io.kubernetes.cri.pod-annotations"]["kubernetes.io/egress-bandwidth"] == "1Ki"
    assert "mac" not in told


@pytest.mark.parametrize("serially", [False, True])
async def test_every_network_gets_an_interface(cni: World, serially: bool) -> None:
    cni.fake("one", "two")
    cni.configure("20-b.conf", {"cniVersion": "0.3.1", "name": "second", "type": "two"})
    cni.configure("10-a.conf", {"cniVersion": "0.3.1", "name": "default", "type": "one"})
    folders = {"default": (str(cni.folder / "conf"), 0)}
    network = await cni.network(folders=folders, serially=serially)
    await network.setup(cni.pod())
    assert sorted((call["ifname"], call["plugin"]) for call in cni.calls()) == [("eth0", "one"), ("eth1", "two")]
    if serially:
        assert cni.sequence() == ["ADD one", "ADD two"]
    await network.teardown(cni.pod())
    assert sorted(call["ifname"] for call in cni.calls("DEL")) == ["eth0", "eth1"]


async def test_a_handler_may_have_networks_of_its_own(cni: World) -> None:
    cni.network_of("one")
    cni.fake("special")
    own = cni.folder / "own"
    own.mkdir()
    (own / "1.conf").write_text(json.dumps({"cniVersion": "1.0.0", "name": "own", "type": "special"}))
    network = await cni.network(folders={**cni.settings.folders, "runc": (str(own), 1)})
    await network.setup(cni.pod())
    assert cni.sequence() == ["ADD special"]
    assert network.describe()["lastCNILoadStatus.runc"] == "OK"


# ------------------------------------------------------------------ failures


async def test_a_plugin_that_fails_names_itself_and_everything_is_taken_back(cni: World) -> None:
    cni.network_of("first", "second")
    cni.does("second", "ADD", """echo '{"code": 7, "msg": "no more addresses", "details": "range is full"}'; exit 1""")
    network = await cni.network()
    with pytest.raises(CortenError) as raised:
        await network.setup(cni.pod())
    assert raised.value.message == (
        'plugin type="second" failed (add): CNI plugin second: no more addresses: range is full'
    )
    assert cni.sequence() == ["ADD first", "ADD second", "DEL second", "DEL first"]
    assert cni.records() == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo sorry >&2; exit 3", "ended with status 3: sorry"),
        ("exit 4", "ended with status 4: it said nothing"),
        ("echo not json; exit 1", "ended with status 1: not json"),
        ("kill -9 $$", "was killed by signal 9"),
        ("echo '{'; exit 0", "not JSON"),
        ("echo '[]'; exit 0", "must be a JSON object"),
        ('echo \'{"cniVersion":"9.0.0"}\'; exit 0', "unknown version '9.0.0'"),
        ('echo \'{"ips":[{"address":"10.0.0.1/24","interface":5}]}\'; exit 0', "malformed: IndexError"),
        ('echo \'{"ips":[{"address":"nowhere"}]}\'; exit 0', "malformed: ValueError"),
        ("echo '{\"ips\":[]}'; exit 0", "its plugins gave eth0 no address"),
    ],
)
async def test_whatever_a_plugin_does_the_pod_is_told_why_and_holds_nothing(
    cni: World, script: str, words: str
) -> None:
    cni.network_of("one")
    cni.does("one", "ADD", script)
    network = await cni.network()
    with pytest.raises(CortenError, match=r"(?s).*") as raised:
        await network.setup(cni.pod())
    assert words in raised.value.message
    assert cni.sequence() == ["ADD one", "DEL one"]
    assert cni.records() == []


async def test_a_plugin_that_is_not_there_is_named_with_the_folders(cni: World) -> None:
    cni.network_of("one")
    (cni.folder / "bin" / "one").unlink()
    network = await cni.network()
    with pytest.raises(FailedPrecondition, match=r'CNI plugin "one": not found in .*/bin \(install it there'):
        await network.setup(cni.pod())
    assert cni.records() == ["pod1"], "it cannot be taken back either, as long as the plugin is missing"
    cni.fake("one")
    await until(lambda: cni.records() == [], "the clean-up succeeds once the plugin is there")


async def test_a_hung_plugin_is_killed_with_its_children(cni: World) -> None:
    cni.network_of("one")
    cni.does("one", "ADD", f"sleep 600 & echo $! > {cni.folder}/child; wait")
    network = await cni.network(deadline=0.5)
    with pytest.raises(DeadlineExceeded, match=r"CNI plugin one ADD pod1: killed, for it did not end within 0\.5 s"):
        await network.setup(cni.pod())
    child = int((cni.folder / "child").read_text())
    await until(lambda: not _runs(child), "the child of the hung plugin is gone")
    assert cni.sequence() == ["ADD one", "DEL one"]


async def test_a_child_that_holds_the_output_open_delays_nobody(cni: World) -> None:
    cni.network_of("one")
    cni.does("one", "ADD", f"sleep 600 & echo $! > {cni.folder}/child")
    network = await cni.network()
    try:
        assert await asyncio.wait_for(network.setup(cni.pod()), 15) == ("10.9.8.7",)
    finally:
        os.kill(int((cni.folder / "child").read_text()), signal.SIGKILL)


async def test_a_flood_of_output_is_cut(cni: World) -> None:
    cni.network_of("one")
    cni.does("one", "ADD", "head -c 20000000 /dev/zero; exit 1")
    network = await cni.network()
    with pytest.raises(CortenError, match="ended with status 1"):
        await network.setup(cni.pod())


async def test_a_hung_plugin_of_one_pod_holds_up_no_other(cni: World) -> None:
    cni.network_of("one")
    cni.does("one", "ADD", '[ "$CNI_CONTAINERID" = good ] || sleep 600')
    network = await cni.network()
    hung = [asyncio.create_task(network.setup(cni.pod(f"hung{place}"))) for place in range(20)]
    await until(lambda: len(cni.calls("ADD")) == 20, "twenty plugins hang")
    assert await asyncio.wait_for(network.setup(cni.pod("good")), 15) == ("10.9.8.7",)
    for task in hung:
        task.cancel()
    await asyncio.gather(*hung, return_exceptions=True)


async def test_detaching_that_fails_is_reported_and_tried_again(cni: World) -> None:
    cni.network_of("one")
    network = await cni.network()
    await network.setup(cni.pod())
    cni.does("one", "DEL", 'echo \'{"code": 11, "msg": "later"}\'; exit 1')
    with pytest.raises(CortenError, match=r'plugin type="one" failed \(delete\): CNI plugin one: later'):
        await network.teardown(cni.pod())
    assert cni.records() == ["pod1"]
    cni.no_longer("one", "DEL")
    await network.teardown(cni.pod())
    assert cni.records() == []
    before = len(cni.calls())
    await network.teardown(cni.pod())
    assert len(cni.calls()) == before, "what is detached is not detached again"


@pytest.mark.parametrize("words", ["link eth0 not found", "iptables: Chain CNI-84ec does not exist"])
async def test_a_plugin_that_misses_what_it_should_delete_has_succeeded(cni: World, words: str) -> None:
    cni.network_of("one")
    network = await cni.network()
    await network.setup(cni.pod())
    cni.does("one", "DEL", f'echo \'{{"code": 999, "msg": "{words}"}}\'; exit 1')
    await network.teardown(cni.pod())
    assert cni.records() == []


async def test_detaching_goes_by_the_record_and_not_by_what_is_configured_now(cni: World) -> None:
    cni.network_of("one")
    network = await cni.network()
    await network.setup(cni.pod())
    cni.network_of("two")
    await until(lambda: "two" in str(network.describe()), "the change is noticed")
    await network.teardown(cni.pod())
    assert cni.sequence() == ["ADD one", "DEL one"]


async def test_a_pod_whose_namespace_is_gone_is_detached_without_it(cni: World, tmp_path: Path) -> None:
    cni.network_of("one")
    network = await cni.network()
    gone = tmp_path / "gone"
    gone.touch()
    await network.setup(cni.pod(netns=str(gone)))
    cni.does("one", "DEL", 'echo \'{"code": 999, "msg": "open: no such file or directory"}\'; exit 1')
    await network.teardown(cni.pod(netns=str(gone)))
    assert cni.calls("DEL")[0]["netns"] == ""
    assert cni.records() == []


# ------------------------------------------------------------------ crashes

_CRASHING = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from cri.cni_world import World
from corten.pools import Pools
from corten.supervisor import Supervisor

async def main():
    world = object.__new__(World)
    from corten_cri.cni.settings import NetworkSettings
    world.folder, world.pools, world.supervisor = Path({folder!r}), Pools(), Supervisor()
    world.settings = NetworkSettings({{"default": ({folder!r} + "/conf", 1)}}, ({folder!r} + "/bin",))
    network = await world.network()
    await network.setup(world.pod())
    Path({folder!r}, "done").touch()
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def crash(cni: World, when: Any) -> None:
    """Another daemon attaches pod1 and is killed once `when()` holds."""
    code = _CRASHING.format(tests=str(Path(__file__).parent.parent), folder=str(cni.folder))
    other = subprocess.Popen([sys.executable, "-c", code])  # noqa: ASYNC220
    try:
        await until(when, "the other daemon is where it is to be killed", 30)
    finally:
        other.kill()
        other.wait()


@pytest.mark.integration
async def test_a_daemon_killed_while_a_plugin_runs_is_cleaned_up_behind_after_the_plugin(cni: World) -> None:
    cni.network_of("one", "two")
    cni.does("two", "ADD", f"touch {cni.folder}/begun; sleep 1; touch {cni.folder}/ended")
    await crash(cni, (cni.folder / "begun").exists)
    cni.no_longer("two", "ADD")
    network = await cni.network()
    assert not (cni.folder / "ended").exists(), "the plugin still runs"
    await network.collect([])
    await until(lambda: cni.records() == [], "what the killed daemon attached is given back")
    assert (cni.folder / "ended").exists(), "not before the plugin that was left over had ended"
    assert cni.sequence() == ["ADD one", "ADD two", "DEL two", "DEL one"]


@pytest.mark.integration
async def test_a_plugin_left_hanging_by_a_killed_daemon_is_killed(cni: World) -> None:
    cni.network_of("one")
    cni.does("one", "ADD", f"echo $$ > {cni.folder}/begun; sleep 600")
    await crash(cni, (cni.folder / "begun").exists)
    network = await cni.network(deadline=0.5)
    await network.collect([])
    await until(lambda: cni.records() == [], "the hanging plugin does not hold up the clean-up")
    assert not _runs(int((cni.folder / "begun").read_text()))


@pytest.mark.integration
async def test_pods_that_live_on_stay_attached_over_a_crash(cni: World) -> None:
    cni.network_of("one")
    await crash(cni, (cni.folder / "done").exists)
    network = await cni.network()
    await network.collect([cni.pod()])
    assert cni.records() == ["pod1"]
    shown = network.describe_pod("pod1")
    assert shown is not None
    assert shown["Interfaces"]["eth0"]["IPConfigs"] == [{"IP": "10.9.8.7", "Gateway": ""}]
    await network.check(cni.pod())
    await network.teardown(cni.pod())
    assert cni.sequence() == ["ADD one", "CHECK one", "DEL one"]


async def test_a_record_that_nobody_can_read_stops_nothing(cni: World) -> None:
    cni.network_of("one")
    folder = cni.folder / "root" / "attachments"
    folder.mkdir(parents=True)
    for name, text in (("broken.json", "{"), ("empty.json", "{}"), ("half.json.new", "{"), ("odd.results", "[")):
        (folder / name).write_text(text)
    network = await cni.network()
    assert cni.records() == ["broken", "empty"], "kept for a person to look at"
    assert sorted(each.name for each in folder.iterdir()) == ["broken.json", "empty.json"]
    assert await network.setup(cni.pod()) == ("10.9.8.7",)


async def test_attaching_again_gives_the_first_one_back(cni: World) -> None:
    cni.network_of("one")
    network = await cni.network()
    await network.setup(cni.pod())
    await network.setup(cni.pod())
    assert cni.sequence() == ["ADD one", "DEL one", "ADD one"]


# ------------------------------------------------------------------ CHECK, STATUS, GC, VERSION


async def test_check_asks_every_plugin_and_tells_what_is_wrong(cni: World) -> None:
    cni.network_of("one", "two")
    network = await cni.network()
    with pytest.raises(FailedPrecondition, match="not attached"):
        await network.check(cni.pod())
    await network.setup(cni.pod())
    await network.check(cni.pod())
    assert cni.sequence()[2:] == ["CHECK one", "CHECK two"]
    assert cni.calls("CHECK")[0]["input"]["prevResult"]["ips"]
    cni.does("two", "CHECK", 'echo \'{"code": 100, "msg": "route is gone"}\'; exit 1')
    shown = network.describe_pod("pod1")
    assert shown is not None
    assert shown["LastCheck"] == "OK"
    with pytest.raises(FailedPrecondition, match="network test: CNI plugin two: route is gone"):
        await network.check(cni.pod())
    shown = network.describe_pod("pod1")
    assert shown is not None
    assert shown["LastCheck"] == "network test: CNI plugin two: route is gone"


@pytest.mark.parametrize(("version", "more"), [("0.3.1", {}), ("1.0.0", {"disableCheck": True})])
async def test_check_is_left_out_where_it_is_not_there(cni: World, version: str, more: dict[str, object]) -> None:
    cni.network_of("one", version=version, **more)
    network = await cni.network()
    await network.setup(cni.pod())
    await network.check(cni.pod())
    assert cni.sequence() == ["ADD one"]


async def test_status_decides_whether_the_network_is_ready(cni: World) -> None:
    cni.network_of("one", "two", version="1.1.0")
    network = await cni.network()
    assert (await network.condition()).ready
    assert cni.sequence() == ["STATUS one", "STATUS two"]
    cni.does("two", "STATUS", 'echo \'{"code": 50, "msg": "the agent is not up"}\'; exit 1')
    found = await network.condition()
    assert (found.ready, found.reason) == (False, "NetworkPluginNotReady")
    assert found.message == "Network plugin returns error: CNI plugin two: the agent is not up"


async def test_status_is_not_asked_before_version_1_1(cni: World) -> None:
    cni.network_of("one", version="1.0.0")
    network = await cni.network()
    assert (await network.condition()).ready
    assert cni.calls() == []


async def test_gc_tells_the_plugins_what_is_attached(cni: World) -> None:
    cni.network_of("one", "two", version="1.1.0")
    network = await cni.network()
    await network.setup(cni.pod("lives"))
    await network.setup(cni.pod("gone"))
    cni.does("one", "GC", "exit 1")
    await network.collect([cni.pod("lives")])
    await until(lambda: cni.records() == ["lives"], "what belongs to no pod is detached")
    for call in cni.calls("GC"):
        assert call["input"]["cni.dev/valid-attachments"] == [{"containerID": "lives", "ifname": "eth0"}]
        assert call["input"]["cni.dev/attachments"] == call["input"]["cni.dev/valid-attachments"]
    assert [call["plugin"] for call in cni.calls("GC")] == ["one", "two"], "a failure of one does not stop the other"


async def test_gc_is_left_out_where_it_is_forbidden(cni: World) -> None:
    cni.network_of("one", version="1.1.0", disableGC=True)
    network = await cni.network()
    await network.collect([])
    assert cni.calls("GC") == []


async def test_a_plugin_tells_its_versions(cni: World) -> None:
    cni.fake("one")
    cni.does("one", "VERSION", """echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'; exit 0""")
    plugins = Plugins(cni.pools, [str(cni.folder / "bin")], 10)
    assert await chain.supported(plugins, "one") == ["0.4.0", "1.0.0"]
    cni.no_longer("one", "VERSION")
    with pytest.raises(CortenError, match="names no supportedVersions"):
        await chain.supported(plugins, "one")


async def test_what_will_fail_is_in_the_log_before_the_first_pod(cni: World, caplog: pytest.LogCaptureFixture) -> None:
    cni.network_of("old", "missing", "silent")
    cni.does("old", "VERSION", """echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}'; exit 0""")
    (cni.folder / "bin" / "missing").unlink()
    await cni.network()
    words = "network test is of version 1.0.0, which the CNI plugin old does not know (it knows 0.3.1, 0.4.0)"
    await until(lambda: words in caplog.text, "the version is told")
    await until(lambda: 'no pod can be attached: CNI plugin "missing": not found' in caplog.text, "the missing one too")
    assert "silent" not in caplog.text


async def test_a_plugin_that_is_being_written_is_waited_for(cni: World) -> None:
    cni.network_of("one")
    network = await cni.network()
    writing = (cni.folder / "bin" / "one").open("a")
    setting_up = asyncio.create_task(network.setup(cni.pod()))
    await asyncio.sleep(0.2)
    writing.close()
    assert await setting_up == ("10.9.8.7",)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
