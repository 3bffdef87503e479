"""What a benchmark's case takes: seconds, and peak memory of this process with Spark's and all of its workers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

_MOMENT = 0.1


def timed(bench: str, case: str, size: int, run: Callable[[], int], repeat: int = 0) -> dict[str, Any]:
    """Run a case, which returns the rows that it made; a row of `build/bench/<bench>.json` without ratios."""
    started, cpu = time.monotonic(), time.process_time()
    with PeakMemory() as peak:
        rows = run()
    return {
        "bench": bench,
        "case": case,
        "size": size,
        "repeat": repeat,
        "seconds": round(time.monotonic() - started, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "peak_mb": peak.mb,
        "worker_mb": peak.workers_mb,  # of the largest Python worker: what one task takes
        "rows": rows,
    }


class PeakMemory:
    """Within the block, `mb` grows to the most memory that the process and its descendants held together.

    They are looked at ten times a second.
    """

    def __init__(self) -> None:
        self.mb = 0
        self.workers_mb = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_MOMENT):
            held = _held()
            self.mb = max(self.mb, sum(held.values()) // 1024)
            workers = [kb for (pid, name), kb in held.items() if name.startswith("python") and pid != os.getpid()]
            self.workers_mb = max(self.workers_mb, max(workers, default=0) // 1024)


def _held() -> dict[tuple[int, str], int]:
    """KiB held by this process and its descendants, by process and name.

    Java's children that have not yet become another program (Hadoop calls `chmod`) still show Java's own memory, which
    is there once only: at 10 million events they made 17 GB of 6.
    """
    told = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            command = (status.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        pid, parent = int(fields["Pid"]), int(fields["PPid"])
        told[pid] = (parent, fields["Name"].strip(), int(fields.get("VmRSS", "0 kB").split()[0]), command)
    mine = {os.getpid()}
    for _ in told:
        more = {pid for pid, (parent, *_) in told.items() if parent in mine} - mine
        if not more:
            break
        mine |= more
    return {(pid, name): kb for pid, (_, name, kb, _) in told.items() if pid in mine and not _is_java_twice(pid, told)}


def _is_java_twice(pid: int, told: dict[int, tuple[int, str, int, bytes]]) -> bool:
    parent, _, _, command = told[pid]
    is_java = command.split(b"\0")[0].endswith(b"java")
    return is_java and parent in told and told[parent][3] == command
