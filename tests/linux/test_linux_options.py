"""Mount options: words in, calls of mount(2) out."""

import pytest
from corten.contracts.mounts import Mount
from corten.linux import options
from corten.linux import syscalls as kernel
from hypothesis import given
from hypothesis import strategies as st

FLAG_WORDS = sorted(options._FLAGS)
WORDS = st.one_of(
    st.sampled_from(FLAG_WORDS),
    st.sampled_from(sorted(options._PROPAGATION)),
    st.text(st.characters(exclude_characters=",\0", exclude_categories=["Cs"]), min_size=1).filter(
        lambda word: word != "loop" and not word.startswith(options._FOR_THE_DAEMON)
    ),
)


@given(st.lists(WORDS))
def test_every_word_is_flag_or_propagation_or_data(words: list[str]) -> None:
    parsed = options.parse(words)
    known = {*options._FLAGS, *options._PROPAGATION}
    assert parsed.data == tuple(word for word in words if word not in known)
    assert bool(parsed.propagation) == any(word in options._PROPAGATION for word in words)


@given(st.lists(st.sampled_from(FLAG_WORDS)), st.sampled_from(FLAG_WORDS))
def test_the_last_word_wins(words: list[str], last: str) -> None:
    on, off = options._FLAGS[last]
    flags = options.parse([*words, last]).flags
    assert flags & on == on
    assert flags & off & ~on == 0


@given(st.lists(WORDS), st.sampled_from(["overlay", "bind", "tmpfs", ""]))
def test_steps_never_mix_what_the_kernel_wants_apart(words: list[str], kind: str) -> None:
    steps = options.steps(Mount(kind, "/source", options=tuple(words)))
    propagation = kernel.MS_SHARED | kernel.MS_PRIVATE | kernel.MS_SLAVE | kernel.MS_UNBINDABLE
    for step in steps:
        if step.flags & propagation:
            assert not step.flags & ~(propagation | kernel.MS_REC) and not step.data
        elif step.flags & kernel.MS_BIND and not step.flags & kernel.MS_REMOUNT:
            assert not step.flags & ~(kernel.MS_BIND | kernel.MS_REC)


def test_a_read_only_bind_takes_two_steps() -> None:
    first, second = options.steps(Mount("bind", "/source", options=("rbind", "ro", "nosuid")))
    assert first == options.Step("/source", "", kernel.MS_BIND | kernel.MS_REC)
    assert second.flags == kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID


def test_propagation_comes_last() -> None:
    steps = options.steps(Mount("bind", "/source", options=("rbind", "rprivate")))
    assert [step.flags for step in steps] == [
        kernel.MS_BIND | kernel.MS_REC,
        kernel.MS_PRIVATE | kernel.MS_REC,
    ]


@given(st.text(st.characters(exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1))
def test_escaped_paths_come_back(path: str) -> None:
    escaped = options.escape(path).replace("\\,", ",")
    assert options.split_lowers(f"/first:/{escaped}") == ["/first", f"/{path}"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("rw", "rbind"), ("rbind", "ro")),
        (("ro",), ("ro",)),
    ],
)
def test_read_only_bind(given: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    assert options.read_only([Mount("bind", "/s", options=given)]) == [Mount("bind", "/s", options=wanted)]


def test_read_only_overlay_moves_the_upper_directory_down() -> None:
    words = ("index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b")
    (made,) = options.read_only([Mount("overlay", "overlay", options=words)])
    assert made.options == ("index=off", "lowerdir=/u:/a:/b", "ro")
