"""What needs nothing of each other, at the same time: planning a query takes one core, whatever its rows.

Each has a pool of the scheduler: where that is fair, small jobs do not wait for the tasks of a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import cycle
from threading import local
from typing import TypeVar

from pyspark import SparkContext
from pyspark.sql import SparkSession

# Of each kind as many as are ever in use at once, since a scheduler forgets none. A step keeps its pool for a night.
_POOLS = {kind: cycle(range(8)) for kind in ("step", "beside")}
_FREE: dict[str, list[SparkSession]] = {}  # by application, sessions that no thread uses
One = TypeVar("One")
Other = TypeVar("Other")


def side_by_side(one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
    """Two actions of one step that need nothing of each other."""

    def aside() -> Other:
        _take_pool("beside")
        return other()

    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(aside)
        return one(), pending.result()


def in_order_of_need(
    names: Collection[str], needs: Mapping[str, Collection[str]], at_once: int, run: Callable[[str], None]
) -> None:
    """Run each name in a thread of its own once all that it needs have run; those that most hangs on come first.

    Args:
        names: what is to run; what else they need is taken to have run.
        needs: what each needs. Those needed stand before those that need them, and in this order one by one runs.
        at_once: at most so many run at the same time.

    Raises:
        BaseException: of the first that failed, when those that were running have ended; nothing starts after it.
    """
    waiting = _among(names, needs)
    order = _most_hangs_on_first(waiting) if at_once > 1 else [*waiting]
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(at_once, initializer=_take_pool, initargs=("step",)) as threads:
        while waiting or running:
            ready = [name for name in order if name in waiting and not waiting[name]]
            for name in ready[: at_once - len(running)]:
                del waiting[name]
                running[threads.submit(run, name)] = name
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                future.result()
                name = running.pop(future)
                for needed in waiting.values():
                    needed.discard(name)


def _among(names: Collection[str], needs: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """What each of the names needs of the others, also by way of some that are not among them."""
    before: dict[str, set[str]] = {}
    for name, needed in needs.items():
        before[name] = {*needed}.union(*(before[other] for other in needed))
    return {name: before[name] & {*names} for name in needs if name in names}


def _most_hangs_on_first(needs: Mapping[str, Collection[str]]) -> list[str]:
    """The names by how many must run one after another from each on, most first."""
    steps = dict.fromkeys(needs, 1)
    for name in reversed([*needs]):
        for needed in needs[name]:
            steps[needed] = max(steps[needed], steps[name] + 1)
    return sorted(needs, key=lambda name: -steps[name])


@contextmanager
def own_sessions(spark: SparkSession) -> Iterator[Callable[[], SparkSession]]:
    """In this block, what gives each thread a session with the settings of one: a thread may change them for itself.

    Frames of one session may be used in another, and what one keeps in memory all find. A session serves the threads
    of later blocks too, since Spark keeps all that were ever made: 33 of eleven nights were still in Java's heap.
    """
    free, taken, of_thread = _FREE.setdefault(spark.sparkContext.applicationId or "", []), [], local()

    def get() -> SparkSession:
        if not hasattr(of_thread, "session"):
            try:
                session = free.pop()
            except IndexError:
                session = spark.newSession()
            taken.append(session)
            _set_like(session, spark)
            of_thread.session = session
        mine: SparkSession = of_thread.session
        return mine

    try:
        yield get
    finally:
        free.extend(taken)


def _set_like(session: SparkSession, other: SparkSession) -> None:
    """Give a session the settings of another."""
    has, wanted = session.conf.getAll, other.conf.getAll
    for key in filter(session.conf.isModifiable, {key for key, _ in has.items() ^ wanted.items()}):
        if key in wanted:
            session.conf.set(key, wanted[key])
        else:
            session.conf.unset(key)


def _take_pool(kind: str) -> None:
    SparkContext.getOrCreate().setLocalProperty("spark.scheduler.pool", f"{kind}-{next(_POOLS[kind])}")
