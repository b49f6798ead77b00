"""Transactions: group commit, growth of the map, crashes, full disks, and who may open a store."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, Internal, ResourceExhausted, Unavailable
from corten_metadata import migrations
from corten_metadata.codec import Encoder
from corten_metadata.schema import VERSION_KEY
from corten_metadata.store import Store
from corten_metadata.transactions import Writing
from counts import count

KEY = b"\x05key"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


def value(store: Store, key: bytes) -> bytes | None:
    with store.read() as view:
        return view.get(key)


def put(store: Store, key: bytes, data: bytes) -> None:
    store.write(lambda txn: txn.put(key, data))


def nothing(txn: Writing) -> None:
    """An update that changes nothing."""


def broken(txn: Writing) -> None:
    raise ZeroDivisionError("a bug")


def test_many_writers_share_commits(store: Store) -> None:
    writers, each = count("group commit writers"), 30
    begin = threading.Barrier(writers)
    before = store.statistics

    def work(number: int) -> None:
        begin.wait()
        for turn in range(each):
            put(store, KEY + b"%d-%d" % (number, turn), b"x")

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(work, range(writers)))
    after = store.statistics
    assert after.updates - before.updates == writers * each
    assert after.commits - before.commits < writers * each / 2
    with store.read() as view:
        assert sum(1 for _ in view.entries(KEY, KEY)) == writers * each


def test_update_that_fails_takes_back_only_its_own_changes(store: Store) -> None:
    together = threading.Event()
    store_busy = threading.Event()

    def slow(txn: Writing) -> None:
        store_busy.set()
        together.wait(10)

    def work(number: int) -> str:
        def update(txn: Writing) -> str:
            txn.put(KEY + b"%d" % number, b"x")
            if number % 2:
                raise AlreadyExists(f"number {number}")
            return f"did {number}"

        try:
            return store.write(update)
        except AlreadyExists as error:
            return error.message

    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(store.write, slow)
        store_busy.wait(10)
        commits = store.statistics.commits
        rest = [pool.submit(work, number) for number in range(10)]
        time.sleep(0.2)
        together.set()
        first.result()
        said = [each.result() for each in rest]
    assert said == [f"number {number}" if number % 2 else f"did {number}" for number in range(10)]
    assert store.statistics.commits - commits == 2, "the first alone, the ten together"
    assert [value(store, KEY + b"%d" % number) for number in range(10)] == [b"x", None] * 5


def test_readers_see_one_state_and_are_not_held_up_by_a_writer(store: Store) -> None:
    store.write(lambda txn: txn.put(KEY, b"old"))
    inside, leave = threading.Event(), threading.Event()

    def slow(txn: Writing) -> None:
        txn.put(KEY, b"new")
        inside.set()
        leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(store.write, slow)
        assert inside.wait(10)
        begin = time.monotonic()
        assert value(store, KEY) == b"old"
        assert time.monotonic() - begin < 1
        with store.read() as view:
            leave.set()
            writing.result()
            assert view.get(KEY) == b"old"
    assert value(store, KEY) == b"new"


def test_map_grows_while_others_read_and_write(tmp_path: Path) -> None:
    store = Store(tmp_path / "small", map_size=1 << 20)
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            with store.read() as view:
                seen.append(sum(1 for _ in view.entries(KEY, KEY)))

    def fill(number: int) -> None:
        for turn in range(40):
            put(store, KEY + b"%d-%d" % (number, turn), b"v" * 20000)

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read)
        writers = [pool.submit(fill, number) for number in range(4)]
        for each in writers:
            each.result()
        done.set()
        reader.result()
    assert store.statistics.growths >= 2
    assert seen == sorted(seen)
    with store.read() as view:
        assert sum(1 for _ in view.entries(KEY, KEY)) == 160
    store.close()
    again = Store(tmp_path / "small", map_size=1 << 20)
    assert value(again, KEY + b"3-39") == b"v" * 20000
    again.close()


WRITE_ON = """
import sys, pathlib
from corten_metadata.store import Store
store = Store(pathlib.Path(sys.argv[1]))
number = 0
while True:
    store.write(lambda txn: txn.put(b"\\x05%08d" % number, b"x" * 100))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
"""


def test_every_acknowledged_write_survives_sigkill(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    acknowledged = -1
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITE_ON, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        acknowledged = max(int(line) for line in lines if line.endswith(b"\n"))
        store = Store(folder)
        with store.read() as view:
            there = {int(key[1:]) for key, _ in view.entries(b"\x05", b"\x05")}
        numbers = [store.number() for _ in range(3)]
        store.close()
        assert set(range(acknowledged + 1)) <= there
        assert len(set(numbers)) == 3


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    seen: set[int] = set()
    for _ in range(3):
        store = Store(tmp_path / "store")
        with ThreadPoolExecutor(8) as pool:
            fresh = [each.result() for each in [pool.submit(store.number) for _ in range(1500)]]
        store.close()
        assert len(set(fresh)) == 1500
        assert not seen & set(fresh)
        seen |= set(fresh)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "corten-test", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_refuses_new_things_and_removes_old_ones(small_disk: Path) -> None:
    store = Store(small_disk / "store")
    written = 0
    with pytest.raises(ResourceExhausted):
        while True:
            put(store, KEY + b"%06d" % written, b"v" * 5000)
            written += 1
    filler = os.open(small_disk / "filler", os.O_CREAT | os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        while True:
            os.write(filler, b"x" * 4096)
    os.close(filler)
    with pytest.raises(ResourceExhausted):
        store.write(lambda txn: txn.put(KEY + b"one more", b"v" * 5000))
    for number in range(written):
        assert store.write(lambda txn, number=number: txn.delete(KEY + b"%06d" % number), removes=True)  # type: ignore[misc]
    (small_disk / "filler").unlink()
    store.write(lambda txn: txn.put(KEY + b"again", b"v" * 5000))
    assert value(store, KEY + b"again") == b"v" * 5000
    store.close()


def test_store_belongs_to_one_process(tmp_path: Path, store: Store) -> None:
    with pytest.raises(Unavailable, match=f"process {os.getpid()} has it open"):
        Store(tmp_path / "store")
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        store.write(nothing)
    again = Store(tmp_path / "store")
    again.close()


def test_forked_process_may_not_use_it(store: Store) -> None:
    child = os.fork()
    if not child:
        try:
            with store.read():
                os._exit(1)
        except Internal:
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_descriptor_is_left_to_programs(tmp_path: Path, store: Store) -> None:
    find = "import os; print([os.path.realpath('/proc/self/fd/' + each) for each in os.listdir('/proc/self/fd')])"
    shown = subprocess.run([sys.executable, "-c", find], close_fds=False, capture_output=True, text=True, check=True)
    assert str(tmp_path) not in shown.stdout


def test_readers_of_a_killed_process_do_not_stay(tmp_path: Path) -> None:
    hold = (
        "import sys, pathlib, time\nfrom corten_metadata.store import Store\n"
        "store = Store(pathlib.Path(sys.argv[1]))\n"
        "with store.read():\n    print('reading', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "store")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"reading\n"
    process.kill()
    process.wait()
    process.stdout.close()
    store = Store(tmp_path / "store")
    for number in range(50):
        put(store, KEY, b"%d" % number * 5000)
    used = (tmp_path / "store" / "data.mdb").stat().st_size
    store.close()
    assert used < 8 << 20, "pages are used again when no reader holds them"


def test_update_in_an_update_is_refused(store: Store) -> None:
    def outer(txn: Writing) -> None:
        store.write(nothing)

    with pytest.raises(Internal, match="waits for another update"):
        store.write(outer)


def test_foreign_error_in_an_update_becomes_one_of_ours(store: Store) -> None:
    with pytest.raises(CortenError, match="ZeroDivisionError"):
        store.write(broken)
    store.write(lambda txn: txn.put(KEY, b"fine"))


def test_newer_schema_is_refused_and_untouched(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.write(lambda txn: txn.put(VERSION_KEY, Encoder().number(migrations.VERSION + 1).done()))
    store.close()
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=f"version {migrations.VERSION + 1}"):
            Store(tmp_path / "store")


def test_migrations_run_in_order_and_all_or_none(store: Store) -> None:
    steps = {
        1: lambda txn: txn.put(KEY, (txn.get(KEY) or b"") + b"1"),
        2: lambda txn: txn.put(KEY, (txn.get(KEY) or b"") + b"2"),
    }
    assert store.write(lambda txn: migrations.migrate(txn, steps, 3)) == 1
    assert value(store, KEY) == b"12"
    assert store.write(lambda txn: migrations.migrate(txn, steps, 3)) == 3
    assert value(store, KEY) == b"12"
    with pytest.raises(CortenError):
        store.write(lambda txn: migrations.migrate(txn, {3: lambda t: t.put(KEY, b"half"), 4: broken}, 5))
    assert value(store, KEY) == b"12"
