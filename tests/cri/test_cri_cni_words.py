"""CNI: what is read and written: configuration, results, quantities, templates."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument, NotFound
from hypothesis import example, given, settings
from hypothesis import strategies as st

if sys.platform == "win32":
    pytest.skip("CNI as here is Linux's", allow_module_level=True)

from corten_cri.cni import arguments, cidr, configuration, quantities, results, template, versions
from cri.cni_world import World, until, world


@pytest.fixture
async def cni(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


# ------------------------------------------------------------------ configuration


async def test_configuration_that_appears_changes_or_goes_is_noticed(cni: World) -> None:
    network = await cni.network()
    found = await network.condition()
    assert found.message == (
        f"Network plugin returns error: no network config found in {cni.folder}/conf: cni plugin not initialized"
    )
    with pytest.raises(NotFound, match="cni plugin not initialized"):
        await network.setup(cni.pod())
    cni.network_of("one")
    await until(lambda: network.describe()["lastCNILoadStatus"] == "OK", "a new file is noticed")
    cni.configure("05-broken.conflist", "{")
    await until(lambda: "05-broken.conflist: not JSON" in network.describe()["lastCNILoadStatus"], "a broken one too")
    assert not (await network.condition()).ready
    (cni.folder / "conf" / "05-broken.conflist").unlink()
    await until(lambda: network.describe()["lastCNILoadStatus"] == "OK", "and that it was removed")
    (cni.folder / "conf").rename(cni.folder / "away")
    await until(lambda: network.describe()["lastCNILoadStatus"] != "OK", "the whole folder goes")
    (cni.folder / "away").rename(cni.folder / "conf")
    await until(lambda: network.describe()["lastCNILoadStatus"] == "OK", "and comes back")
    (cni.folder / "conf" / "10-test.conflist").rename(cni.folder / "kept")
    await until(lambda: network.describe()["lastCNILoadStatus"] != "OK", "it is still watched")


async def test_a_folder_that_is_made_later_is_noticed(cni: World) -> None:
    cni.network_of("one")
    (cni.folder / "conf" / "10-test.conflist").rename(cni.folder / "kept.conflist")
    folder = cni.folder / "etc" / "cni" / "net.d"
    network = await cni.network(folders={"default": (str(folder), 1)})
    assert not folder.exists()
    assert "cni plugin not initialized" in (await network.condition()).message
    folder.mkdir(parents=True)
    (cni.folder / "kept.conflist").rename(folder / "10.conflist")
    await until(lambda: network.describe()["lastCNILoadStatus"] == "OK", "found below folders that were made later")


async def test_configuration_is_used_the_moment_it_is_there(cni: World) -> None:
    network = await cni.network()
    cni.network_of("one")
    assert (await network.condition()).ready
    assert await network.setup(cni.pod()) == ("10.9.8.7",)


async def test_the_verbose_status_shows_the_configuration_as_containerd_does(cni: World) -> None:
    cni.network_of("one")
    network = await cni.network()
    shown = network.describe()["cniconfig"]
    assert (shown["PluginDirs"], shown["PluginConfDir"]) == ([str(cni.folder / "bin")], str(cni.folder / "conf"))
    assert (shown["PluginMaxConfNum"], shown["Prefix"]) == (1, "eth")
    (entry,) = shown["Networks"]
    assert (entry["IFName"], entry["Config"]["Name"], entry["Config"]["CNIVersion"]) == ("eth0", "test", "1.0.0")
    assert entry["Config"]["Plugins"][0]["Network"] == {"type": "one"}
    assert json.loads(entry["Config"]["Source"])["name"] == "test"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.conf", "{", "not JSON"),
        ("a.conf", "[]", "must be a JSON object, and is a list"),
        ("a.conf", '{"name": "x"}', 'it has no "type"'),
        ("a.conf", '{"name": "x", "plugins": [{"type": "y"}]}', 'it has no "type"'),
        ("a.json", '{"name": "x", "type": "../y"}', "named without a path"),
        ("a.conflist", '{"plugins": [{"type": "y"}]}', 'it has no "name"'),
        ("a.conflist", '{"name": "-x", "plugins": [{"type": "y"}]}', "must begin with a letter or digit"),
        ("a.conflist", '{"name": "x"}', "it names no plugins"),
        ("a.conflist", '{"name": "x", "plugins": []}', "at least one plugin"),
        ("a.conflist", '{"name": "x", "plugins": [{"type": "y"}, {}]}', 'plugin 2 has no "type"'),
        ("a.conflist", '{"name": "x", "cniVersion": 1, "plugins": [{"type": "y"}]}', '"cniVersion" must be a string'),
        ("a.conflist", '{"name": "x", "cniVersion": "1.x", "plugins": [{"type": "y"}]}', "expected three numbers"),
        ("a.conflist", '{"name": "x", "loadOnlyInlinedPlugins": true}', 'there are no "plugins"'),
        ("a.conflist", '{"name": "x", "disableGC": 7, "plugins": [{"type": "y"}]}', '"disableGC" must be true'),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_name(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidArgument) as raised:
        configuration.load_folder(str(tmp_path), 1)
    assert str(tmp_path / name) in raised.value.message
    assert words in raised.value.message


def test_files_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("30.json", "10.conf", "20.conf"):
        (tmp_path / name).write_text(json.dumps({"name": f"n{name[:2]}", "type": "y", "cniVersion": "0.4.0"}))
    (tmp_path / "05.conflist").mkdir()
    (tmp_path / "00.txt").write_text("{")
    assert [each.name for each in configuration.load_folder(str(tmp_path), 2)] == ["n10", "n20"]
    assert [each.name for each in configuration.load_folder(str(tmp_path), 0)] == ["n10", "n20", "n30"]
    with pytest.raises(NotFound):
        configuration.load_folder(str(tmp_path / "05.conflist"), 1)


def test_plugins_may_lie_in_a_folder_beside_the_list(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "b.conf").write_text('{"type": "second"}')
    (tmp_path / "net" / "a.conf").write_text('{"type": "first"}')
    file = tmp_path / "n.conflist"
    file.write_text('{"name": "net", "plugins": [{"type": "inline"}]}')
    assert [each.type for each in configuration.load_file(file).plugins] == ["inline", "first", "second"]
    file.write_text('{"name": "net", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "inline"}]}')
    assert [each.type for each in configuration.load_file(file).plugins] == ["inline"]
    file.write_text('{"name": "net"}')
    assert [each.type for each in configuration.load_file(file).plugins] == ["first", "second"]


@pytest.mark.parametrize(
    ("version", "offered", "chosen"),
    [
        ("1.0.0", [], "1.0.0"),
        ("0.4.0", ["1.0.0", "0.3.1"], "1.0.0"),
        ("0.4.0", ["1.1.0", "2.0.0"], "1.1.0"),
        ("", ["0.3.1"], "0.3.1"),
        ("1.2.0", ["2.0.0"], "1.2.0"),
    ],
)
def test_the_latest_version_that_is_known_is_chosen(version: str, offered: list[str], chosen: str) -> None:
    assert versions.choose(version, offered) == chosen


# ------------------------------------------------------------------ results

_CURRENT = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "cni0"}, {"name": "eth0", "mac": "aa:bb", "sandbox": "/n", "mtu": 1500}],
    "ips": [
        {"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 1},
        {"address": "fd00::5/64", "interface": 1},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0"}],
    "dns": {"nameservers": ["10.1.2.1"]},
}


def test_results_are_told_in_the_version_of_the_network() -> None:
    assert results.convert(_CURRENT, "1.0.0") == {**_CURRENT, "cniVersion": "1.0.0"}
    older = results.convert(_CURRENT, "0.4.0")
    assert [ip["version"] for ip in older["ips"]] == ["4", "6"]
    assert older["interfaces"][1] == {"name": "eth0", "mac": "aa:bb", "sandbox": "/n"}
    oldest = results.convert(_CURRENT, "0.2.0")
    assert oldest == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}]},
        "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0"}]},
        "dns": {"nameservers": ["10.1.2.1"]},
    }
    back = results.to_current(oldest)
    assert [ip["address"] for ip in back["ips"]] == ["10.1.2.3/24", "fd00::5/64"]
    assert back["routes"] == _CURRENT["routes"]
    assert results.to_current(older)["ips"] == _CURRENT["ips"]
    with pytest.raises(InvalidArgument, match="without an address"):
        results.convert({"cniVersion": "1.0.0"}, "0.2.0")


def test_nothing_a_plugin_says_is_lost_within_a_version() -> None:
    told = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "1.2.3.4/8", "own": 1}], "io.example": [1]}
    assert results.convert(results.read(told, "0.3.1", "x"), "0.3.1") == {**told, "cniVersion": "0.3.1"}


@pytest.mark.parametrize(
    ("preference", "chosen"),
    [
        ("", ("10.0.0.1", "fd00::1", "fd00::2", "10.0.0.2")),
        ("ipv4", ("10.0.0.1", "fd00::1", "fd00::2", "10.0.0.2")),
        ("ipv6", ("fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2")),
        ("cni", ("fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2")),
    ],
)
def test_the_main_address_is_the_preferred_one(preference: str, chosen: tuple[str, ...]) -> None:
    assert results.choose(("fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2"), preference) == chosen
    assert results.choose(("fd00::9",), preference) == ("fd00::9",)


def test_the_verbose_document_has_containerds_words() -> None:
    shown = results.describe([_CURRENT], "/run/netns/x", loopback=True)
    assert set(shown["Interfaces"]) == {"eth0", "cni0", "lo"}
    assert shown["Interfaces"]["eth0"] == {
        "IPConfigs": [{"IP": "10.1.2.3", "Gateway": "10.1.2.1"}, {"IP": "fd00::5", "Gateway": ""}],
        "Mac": "aa:bb", "Sandbox": "/n", "PciID": "", "SocketPath": "",
    }  # fmt: skip
    assert shown["DNS"] == [{"nameservers": ["10.1.2.1"]}]
    assert shown["Routes"] == _CURRENT["routes"]
    assert "lo" not in results.describe([_CURRENT], "", loopback=False)["Interfaces"]


_KEYS = st.sampled_from(
    ["ips", "interfaces", "routes", "dns", "address", "interface", "name", "dst", "ip4", "ip", "gateway"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["10.0.0.1/8", "::1/64", "eth0", "4", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(_JSON, st.sampled_from([*versions.KNOWN, "", "7", None]))
@example({"ip4": {"ip": False}}, "0.1.0")
@example({"ips": [{"address": 7}]}, "1.0.0")
def test_whatever_a_plugin_answers_is_a_result_or_an_error(document: Any, version: str | None) -> None:
    if isinstance(document, dict) and version is not None:
        document = {**document, "cniVersion": version}
    try:
        result = results.read(document, "1.0.0", "x")
    except InvalidArgument:
        return
    for known in versions.KNOWN:
        try:
            assert results.convert(result, known)["cniVersion"] == known
        except InvalidArgument as error:
            assert "without an address" in error.message
    results.describe([result], "", loopback=True)


# ------------------------------------------------------------------ small languages


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10M", 10_000_000), ("1Ki", 1024), ("1.5k", 1500), ("1e3", 1000), ("2E3", 2000), ("1E", 10**18), ("500m", 1),
        ("1500u", 1), ("0.5Mi", 524288), (".5k", 500), ("7", 7), ("1P", 10**15),
    ],
)  # fmt: skip
def test_quantities_are_read_as_kubernetes_does(text: str, number: int) -> None:
    assert quantities.parse(text) == number


@pytest.mark.parametrize("text", ["", "M", "10MB", "1 k", "0x10", "ten", "1e", "1e9999", "١k"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a quantity"):
        quantities.parse(text)


@pytest.mark.parametrize("text", ["999", "1001T", "-10M", "x"])
async def test_a_bandwidth_that_makes_no_sense_is_refused_before_any_plugin_runs(cni: World, text: str) -> None:
    cni.network_of("one")
    network = await cni.network()
    with pytest.raises(InvalidArgument, match=r"annotation kubernetes\.io/egress-bandwidth"):
        await network.setup(cni.pod(annotations={"kubernetes.io/egress-bandwidth": text}))
    assert cni.calls() == []


def test_arguments_that_would_read_as_two_are_refused() -> None:
    config = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="a;K8S_POD_NAMESPACE=other"))
    with pytest.raises(InvalidArgument, match="semicolon"):
        arguments.arguments("x", config)


def test_the_template_of_the_documentation_is_understood() -> None:
    text = (
        '{"ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],\n'
        ' "first": "{{ .PodCIDR }}", {{/* a remark */}}"routes": [\n'
        '   {{- range $i, $route := .Routes -}}\n   {{if $i}},{{else}}{{end}}{"dst": "{{.}}"}\n {{- end -}} ]}'
    )
    made = json.loads(template.render(text, cidr.values("10.1.0.0/16, fd00::/64")))
    assert made == {
        "ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd00::/64"}]],
        "first": "10.1.0.0/16",
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    assert (
        template.render("{{range .Routes}}x{{else}}none{{end}}{{$.PodCIDR}}", {"Routes": [], "PodCIDR": "p"}) == "nonep"
    )


@pytest.mark.parametrize(
    "text",
    ["{{.Nothing}}", "{{$x}}", "{{range .R}}", "{{end}}", "{{printf .R}}", "{{if .R}}", "{{range .P}}{{end}}", "{{}}"],
)
def test_what_a_template_cannot_do_is_said(text: str) -> None:
    with pytest.raises(InvalidArgument, match="template: "):
        template.render(text, {"R": ["a"], "P": "text"})


async def test_the_pod_cidr_of_the_kubelet_becomes_a_configuration(cni: World) -> None:
    cni.fake("bridge")
    source = cni.folder / "net.tmpl"
    source.write_text('{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge","subnet":"{{.PodCIDR}}"}]}')
    network = await cni.network(template=str(source))
    with pytest.raises(InvalidArgument, match="pod CIDR"):
        await network.update_pod_cidr("10.1.0.0/99")
    await network.update_pod_cidr("10.1.0.0/24")
    written = cni.folder / "conf" / "10-containerd-net.conflist"
    assert written.stat().st_mode & 0o777 == 0o644
    assert (await network.condition()).ready
    await network.setup(cni.pod())
    assert cni.calls()[0]["input"]["subnet"] == "10.1.0.0/24"
    await network.update_pod_cidr("10.2.0.0/24")
    assert "10.1.0.0/24" in written.read_text(), "a network that is ready is left alone"


async def test_without_a_template_the_pod_cidr_is_for_others(cni: World) -> None:
    network = await cni.network()
    await network.update_pod_cidr("10.1.0.0/24")
    assert list((cni.folder / "conf").iterdir()) == []
