"""Steps run once what they need has run, some of them at the same time, each with settings of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from jobs import nightly
from jobs.runtime.job import JobContext
from jobs.runtime.run_log import RunLog
from jobs.runtime.session import configured
from jobs.runtime.side_by_side import in_order_of_need, own_sessions
from tests.nights import night
from transforms.contracts import ops

NIGHT = {"ingest": (), "clean": ("ingest",), "tags": ("clean",), "tiers": ("clean",), "audit": ("tags", "tiers")}


class Ran:
    """What runs, and what was running or had ended when each started."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.running: set[str] = set()
        self.seen: dict[str, tuple[set[str], set[str]]] = {}

    def __call__(self, name: str) -> None:
        self.seen[name] = ({*self.running}, {*self.ended})
        self.running.add(name)
        time.sleep(0.005)
        self.running.remove(name)
        self.ended.append(name)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Up to nine names, each of which needs some of those before it."""
    names = [f"step{n}" for n in range(draw(st.integers(0, 9)))]
    return {
        name: tuple(draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else ())
        for place, name in enumerate(names)
    }


@given(graphs(), st.integers(1, 4), st.data())
def test_each_runs_once_after_all_that_it_needs(
    spark: SparkSession, needs: Mapping[str, tuple[str, ...]], at_once: int, data: st.DataObject
) -> None:
    names = data.draw(st.sets(st.sampled_from([*needs]))) if needs else set()
    ran = Ran()
    in_order_of_need(names, needs, at_once, ran)
    assert sorted(ran.ended) == sorted(names)

    def before(name: str) -> set[str]:
        return {*needs[name]}.union(*(before(other) for other in needs[name]))

    for name in names:
        running, ended = ran.seen[name]
        assert before(name) & names <= ended  # also what it needs by way of a step that does not run
        assert len(running) < at_once


def test_two_that_need_nothing_of_each_other_run_at_the_same_time(spark: SparkSession) -> None:
    """Each waits for the other, so one by one neither would end."""
    both = threading.Barrier(2, timeout=30)
    in_order_of_need(NIGHT, NIGHT, 2, lambda name: None if name not in ("tags", "tiers") else both.wait() and None)


def test_nothing_starts_after_one_that_fails_and_those_that_run_end(spark: SparkSession) -> None:
    both, ended = threading.Barrier(2, timeout=30), []

    def run(name: str) -> None:
        if name in ("tags", "tiers"):
            both.wait()
        if name == "tags":
            raise ValueError("no tags")
        time.sleep(0.2 if name == "tiers" else 0)
        ended.append(name)

    with pytest.raises(ValueError, match="no tags"):
        in_order_of_need(NIGHT, NIGHT, 2, run)
    assert ended == ["ingest", "clean", "tiers"]


def test_that_on_which_most_hangs_starts_first(spark: SparkSession) -> None:
    """Nothing hangs on trade and topics, two more on tags: of two at once, tags are one."""
    needs = {"trade": (), "topics": (), "tags": (), "segments": ("tags",), "contacts": ("segments",)}
    ran = Ran()
    in_order_of_need(needs, needs, 2, ran)
    assert ran.seen["tags"][1] == set()
    assert ran.seen["topics"][1] != set()


def test_one_by_one_they_run_in_the_given_order(spark: SparkSession) -> None:
    ran = Ran()
    in_order_of_need({*NIGHT}, NIGHT, 1, ran)
    assert ran.ended == [*NIGHT]


def test_a_night_that_stops_says_where_to_go_on(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tags fail while feedback is done and tiers are not: of what is left, in the order of a night, tags come first."""
    ctx = night(tmp_path / "lake", tmp_path / "landing", date(2026, 6, 30))
    feedback_is_done = threading.Event()

    def feedback(step: JobContext) -> None:
        step.facts["topics"] = 7
        feedback_is_done.set()

    def tags(step: JobContext) -> None:
        feedback_is_done.wait(30)
        assert "topics" not in step.facts  # each step has its own
        raise ValueError("no tags")

    jobs = {"read-feedback": feedback, "compute-tags": tags, "value-customers": lambda _: None}
    monkeypatch.setattr(nightly, "STEPS", {**nightly.STEPS, **jobs})
    with pytest.raises(ValueError, match="no tags"), RunLog(ctx, steps=21, done=6) as log:
        nightly._run_rest(ctx, log, [*jobs], 100)
    told = capsys.readouterr().err
    assert "[ 7/21] read-feedback" in told
    assert "7 topics" in told
    assert "`--date 2026-06-30 --from compute-tags`" in told
    rows = ctx.tables.read(ops.JOB_RUNS).select("job", "status", "message").collect()
    assert sorted(map(tuple, rows)) == [
        ("compute-tags", "failed", "ValueError: no tags"),
        ("read-feedback", "done", ""),
    ]


def test_a_thread_changes_settings_for_itself_only(spark: SparkSession) -> None:
    """Of two threads one changes a setting that holds for the night; the other, and the night's session, keep it."""
    key, both, seen = "spark.sql.shuffle.partitions", threading.Barrier(2, timeout=30), {}
    with configured(spark, {key: "5"}), own_sessions(spark) as own:

        def run(name: str) -> None:
            session = own()
            with configured(session, {key: "9"} if name == "changes" else {}):
                both.wait()
                seen[name] = session.conf.get(key), session.range(10).repartition("id").count()
                both.wait()

        in_order_of_need(["changes", "keeps"], {"changes": (), "keeps": ()}, 2, run)
        assert spark.conf.get(key) == "5"
    assert seen == {"changes": ("9", 10), "keeps": ("5", 10)}


def test_what_one_session_keeps_all_find(spark: SparkSession) -> None:
    kept = spark.range(100).selectExpr("id", "id % 7 as place").persist()
    assert kept.count() == 100
    other: list[tuple[int, bool]] = []

    def run(_: str) -> None:
        joined = own().range(50).join(kept, "id")
        plan = joined._jdf.queryExecution().executedPlan().toString()
        other.append((joined.count(), "InMemoryTableScan" in plan))

    with own_sessions(spark) as own:
        in_order_of_need(["one"], {"one": ()}, 1, run)
    assert other == [(50, True)]


def test_later_nights_use_the_same_sessions_with_their_own_settings(spark: SparkSession) -> None:
    """A setting that held in the first of two nights, and those that a thread left, do not hold in the second."""
    keys = ["spark.sql.shuffle.partitions", "spark.sql.codegen.wholeStage", "spark.sql.sources.default"]
    usual = [spark.conf.get(key) for key in keys]
    used: list[tuple[int, list[str]]] = []

    def run(_: str) -> None:
        session = own()
        used.append((id(session), [str(session.conf.get(key)) for key in keys]))
        session.conf.set("spark.sql.codegen.wholeStage", "false")
        session.conf.set("spark.sql.sources.default", "csv")  # which nothing else sets

    for settings in ({"spark.sql.shuffle.partitions": "5"}, {}):
        with configured(spark, settings), own_sessions(spark) as own:
            in_order_of_need(["one"], {"one": ()}, 1, run)
    (first, then), (second, now) = used
    assert first == second
    assert then == ["5", *usual[1:]]
    assert now == usual
