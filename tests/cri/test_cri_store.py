"""The status file of a container: a start and the exit of what it started may be saved at the same moment."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten_cri.state.containers import Container
from corten_cri.state.store import CriStore


def test_an_end_that_was_saved_stays_whatever_is_saved_beside_it(tmp_path: Path) -> None:
    nothing: Any = None
    store = CriStore(nothing, nothing, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        for number in range(50):
            id = f"c{number}"
            (tmp_path / "containers" / id).mkdir(parents=True)
            started = replace(Container(id, id, "p", pb.ContainerConfig(), "image"), pid=7, started_at=1)
            ended = replace(started, pid=0, finished_at=2, exit_code=137, reason="OOMKilled")
            list(pool.map(store.save_status, (started, ended, started, started)))
            saved = json.loads((tmp_path / "containers" / id / "status").read_text())
            assert (int(saved["FinishedAt"]), saved["Reason"]) == (2, "OOMKilled")
