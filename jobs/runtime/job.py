"""A job's context, its arguments and its exit codes."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.kept_events import KeptEvents, known_events
from jobs.runtime.landing import Landing
from jobs.runtime.leads import held_by_too_many, led
from jobs.runtime.listed_rows import listed_rows
from jobs.runtime.local_writes import WrittenMeanwhile
from jobs.runtime.progress import Progress
from jobs.runtime.session import build_session, configured
from jobs.runtime.settings import ENVIRONMENTS, Settings, SettingsError, digest, load_settings
from jobs.runtime.staff import without_staff
from jobs.runtime.tables import MissingTable, Tables
from transforms.contracts import ContractError, Table, ops, silver
from transforms.identity.anchors import with_owner

DONE, FAILED, BAD_USAGE, REFUSED = 0, 1, 2, 3
_INTERPRETED_ROWS = 150_000
_INTERPRETED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # Interpreted, a common subexpression is looked up in a cache that is emptied for every row: 7 % of a night.
    "spark.sql.subexpressionElimination.enabled": "false",
    # Each file is read into vectors that are made for so many rows (4,096 by default) of each column: 1,046 files of
    # five events each took 5 s of processor time, and 3.4 to 4 s with small ones.
    "spark.sql.parquet.columnarReaderBatchSize": "256",
    # 540,000 events kept took 216 MB and 7.1 s to fill, without compression 279 MB and 5.6 s.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
}
_RESTATED = 5
_PARTITIONS = "spark.sql.shuffle.partitions"
_OF_SPARK = 200  # its own number of partitions
_ROWS_PER_PARTITION = 500_000
_PARTITIONS_PER_MONTH_PART = 4  # a night's own dates lie in few months
_KEPT_ROWS = 1_000_000
_SETTLED_ROWS = 1_000_000


class AuditRefused(RuntimeError):
    """The audit will not let this run be published."""


class RunFailed(RuntimeError):
    """A run that cannot go on, with what happened, where and what to do."""


@dataclass
class JobContext:
    """What a job is given. `facts` are shown beside the step and kept in ops.job_runs."""

    spark: SparkSession
    settings: Settings
    run_date: date
    run_id: str
    tables: Tables
    landing: Landing
    env: str
    full: bool = False
    is_erasing: bool = False
    accept: str | None = None
    progress: Progress = field(default_factory=Progress)
    facts: dict[str, Any] = field(default_factory=dict)
    arrived: dict[tuple[int, date], DataFrame | None] = field(default_factory=dict)
    arrived_lock: Lock = field(default_factory=Lock)  # steps side by side ask for the same
    _kept_events: KeptEvents | None = None
    _event_count: int | None = None
    _compiled: Mapping[str, str] | None = None  # the session's own ways, before any block
    _held: dict[tuple[str, int], DataFrame | None] = field(default_factory=dict)  # by path and version
    _counted: dict[int, int] = field(default_factory=dict)  # by version of silver.events
    _persisted: list[DataFrame] = field(default_factory=list)
    _put_aside: list[str] = field(default_factory=list)  # folders
    _digested: tuple[Settings, str] | None = None  # settings, and theirs

    @property
    def settings_digest(self) -> str:
        """SHA-256 of the settings. Each of a night's tables asks for it: a twelfth of what Python does there."""
        if self._digested is None or self._digested[0] is not self.settings:
            self._digested = (self.settings, digest(self.settings))
        return self._digested[1]

    @property
    def cleans_all(self) -> bool:
        """Whether all of bronze is cleaned again, not only what came: with --full, and once rows were taken out."""
        return self.full or self.is_erasing

    def horizon(self) -> date:
        """The arrival date up to which raw data is taken: the run date, or with --full all that was loaded before."""
        if not self.full:
            return self.run_date
        loaded = self.tables.read_or_empty(ops.LANDING_FILES).where("status = 'loaded'")
        newest = loaded.agg(F.max("arrival_date")).head()
        return max(self.run_date, newest[0]) if newest and newest[0] else self.run_date

    def events(self) -> DataFrame:
        """silver.events as known on the run date, led by identifiers that may lead as of it.

        The table keeps the lead that static rules leave; which values too many people hold changes with the date.
        Where gifts are to count as purchases, no event is a gift.
        """
        known = self.known_events()
        if not self.settings.purchases.exclude_gifts:
            known = known.withColumn("is_gift", F.lit(False))
        return led(known, self._held_by_too_many(), self.settings.identity)

    def _held_by_too_many(self) -> DataFrame | None:
        """Values that may not lead as of the run date, if any: nearly every step asks, 0.1 s at a time."""
        table = self.tables.path(silver.IDENTITY_BAD_VALUES), self.tables.version(silver.IDENTITY_BAD_VALUES)
        if table not in self._held:
            self._held[table] = held_by_too_many(self.tables.read_or_empty(silver.IDENTITY_BAD_VALUES))
        return self._held[table]

    def known_events(self) -> DataFrame:
        """silver.events as known on the run date, as they stand there."""
        return self._kept_events.read() if self._kept_events else known_events(self.tables, self.run_date)

    @contextmanager
    def kept_events(self, rows: int) -> Iterator[None]:
        """In this block `events` are put together once where they are few: each scan opens a file per business date."""
        self._event_count = rows
        kept = KeptEvents(self.tables, self.run_date, lambda: self.interpreted(rows))
        self._kept_events = kept if rows <= _KEPT_ROWS else None
        try:
            yield
        finally:
            kept.forget()
            self._kept_events = self._event_count = None

    @property
    def event_count(self) -> int:
        """Rows of silver.events: what a step's plans are chosen by.

        Delta answers from its log, but 0.3 s at a time, and identity resolution asks eight times.
        """
        if self._event_count is not None:
            return self._event_count
        version = self.tables.version(silver.EVENTS)
        if version not in self._counted:
            self._counted = {version: self.tables.count(silver.EVENTS, version)}
        return self._counted[version]

    @property
    def event_count_so_far(self) -> int:
        """`event_count`; 0 where no night has cleaned any yet."""
        return self.event_count if self.tables.exists(silver.EVENTS) else 0

    def of_run_date(self, table: Table) -> DataFrame:
        """The run date's slice of a gold table; empty where no run has written the table."""
        return self.tables.read_or_empty(table).where(F.col("run_date") == F.lit(self.run_date))

    def owned(self, table: Table) -> DataFrame:
        """A silver table with `customer_id` of its lead identifier; null for guests."""
        return with_owner(self.tables.read(table), self.tables.read(silver.IDENTITIES))

    def counted(self, table: Table) -> DataFrame:
        """`owned` rows of customers who count: no guests, and no staff where the settings leave them out."""
        return self.without_staff(self.owned(table).where("customer_id is not null"))

    def without_staff(self, frame: DataFrame) -> DataFrame:
        """Rows with a customer_id, less those of staff where the settings leave them out.

        Staff keep their row in every table of customers; what is judged by comparing customers does not see them.
        """
        return without_staff(frame, self.tables.read, self.settings)

    def small_frame(self, rows: Sequence[Mapping[str, Any] | Sequence[Any]], table: Table) -> DataFrame:
        """Rows made on the driver (as many as files, tables or checks) as one partition of the table's schema."""
        names = table.column_names
        listed = [[row[name] for name in names] if isinstance(row, Mapping) else list(row) for row in rows]
        return listed_rows(self.spark, listed, table.schema).coalesce(1)

    def interpreted(self, rows: int | None) -> AbstractContextManager[None]:
        """Plans of this block are interpreted instead of compiled when they see few rows. None: leave it as it is.

        A night's plans compile to Java for a minute, whatever the rows. On 130,000 events the interpreted night took
        two thirds of the compiled one (2 cores); the first night of 540,000, in a Java without its second compiler,
        took more than twice as long.
        """
        self._compiled = self._compiled or {key: str(self.spark.conf.get(key)) for key in _INTERPRETED}
        wanted = _INTERPRETED if rows is not None and rows <= _INTERPRETED_ROWS else self._compiled
        return configured(self.spark, {} if rows is None else wanted)

    def restating(self) -> AbstractContextManager[None]:
        """Plans that look for few rows among all events: nearly all of these are only filtered.

        Of 540,000 events, interpreted restatements took four fifths of the compiled ones, and the night of one more
        day took 238 s; compiled, but with Java's recorder on, 268 s (2 cores).
        """
        return self.interpreted(self.event_count // _RESTATED)

    def spread(self, coming: int = 0) -> AbstractContextManager[None]:
        """Shuffles of this block have more parts than the settings say where events are many: a task's must fit memory.

        Four parts of eight million events ran out of 8 GB of heap; Spark itself joins parts that turn out small. So
        have months of clustered tables, which one task would sort and write alone.

        Args:
            coming: events that the block adds to those that are known.
        """
        wanted = -(-(self.event_count_so_far + coming) // _ROWS_PER_PARTITION)
        self.tables.month_parts = max(1, wanted // _PARTITIONS_PER_MONTH_PART)
        has, ours = str(self.spark.conf.get(_PARTITIONS)), str(self.settings.spark.get(_PARTITIONS, _OF_SPARK))
        is_given = has != ours  # by spark-submit, whose settings stay
        return configured(self.spark, {_PARTITIONS: str(wanted)} if wanted > int(has) and not is_given else {})

    def settled(self, frame: DataFrame, rows: int) -> DataFrame:
        """The frame, worked out once for several uses in this step; of few rows its plan is forgotten too.

        Every later step analyses a kept plan again, 0.2 s a step for the plans of eleven sources. Many rows keep
        their plan, by which a cluster works out again what a lost executor held.
        """
        if rows <= _SETTLED_ROWS:
            return frame.localCheckpoint()
        kept = frame.persist()
        self._persisted.append(kept)  # ingest-events settles sources side by side: the last one may be another's
        return kept

    def put_aside(self, frame: DataFrame) -> DataFrame:
        """The frame, written to files for this step and read back: for what is larger than memory."""
        path = f"{self.tables.lake}/_scratch/step/{uuid.uuid4().hex}"
        self._put_aside.append(path)
        frame.write.parquet(path)
        return self.spark.read.parquet(path)

    def of_step(self, spark: SparkSession | None = None) -> JobContext:
        """The same night for one of its steps, which another may run beside: facts, writes and kept frames of its own.

        Args:
            spark: the session that the step is to use, whose settings it may change.
        """
        session = spark or self.spark
        digested = (self.settings, self.settings_digest)
        tables = self.tables.of_step(session)
        return replace(self, spark=session, tables=tables, facts={}, _persisted=[], _put_aside=[], _digested=digested)

    def forget(self) -> None:
        """Free what was settled or put aside; the run log calls it after each step."""
        while self._put_aside:
            self.tables.files.remove(self._put_aside.pop())
        while self._persisted:
            self._persisted.pop().unpersist()

    def now(self) -> datetime:
        """The wall clock, UTC, without zone as Spark takes it; only ops tables see it."""
        return datetime.now(timezone.utc).replace(tzinfo=None)


Job = Callable[[JobContext], None]


def main(job: Job) -> None:
    """Entry of a job file: parse, run, exit with the code that README lists."""
    name = Path(sys.argv[0]).stem.replace("_", "-")
    parser = argparse.ArgumentParser(prog=name, description=(sys.modules[job.__module__].__doc__ or "").strip())
    add_arguments(parser)
    sys.exit(guarded(lambda: run_job(job, parser.parse_args())))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every job takes."""
    parser.add_argument("--date", type=a_date, required=True, metavar="D", help="run date, YYYY-MM-DD: the only clock")
    parser.add_argument("--lake", required=True, metavar="URI", help="where the tables are")
    parser.add_argument("--landing", metavar="URI", help="where the received files are (default: LAKE/landing)")
    add_settings_arguments(parser)
    parser.add_argument("--full", action="store_true", help="rebuild from the landing files")
    parser.add_argument("--accept", metavar="REASON", help="publish although the audit objects, and say why")
    parser.add_argument("--json-logs", action="store_true", help="one JSON object per line instead of text")


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose settings."""
    parser.add_argument(
        "--settings", type=_files, default=(), metavar="FILE[,FILE…]", help="YAML over conf/, key by key"
    )
    parser.add_argument("--env", choices=ENVIRONMENTS, default="local")


def run_job(job: Job, arguments: argparse.Namespace) -> int:
    """Run one job by itself."""
    from jobs.runtime.run_log import RunLog

    ctx = context(arguments)
    name = job.__module__.rsplit(".", 1)[-1] if job.__module__ != "__main__" else Path(sys.argv[0]).stem
    with RunLog(ctx) as log:
        log.step(name.replace("_", "-"), job)
    return DONE


def context(arguments: argparse.Namespace) -> JobContext:
    """Settings first, so that a bad one stops before Spark starts; then session, tables and landing."""
    settings = load_settings(arguments.settings, arguments.env)
    _check_neighbours()
    spark = build_session(settings)
    run_id = f"{arguments.date.isoformat()}-{uuid.uuid4().hex[:8]}"
    return JobContext(
        spark=spark,
        settings=settings,
        run_date=arguments.date,
        run_id=run_id,
        tables=lake_tables(spark, arguments.lake, run_id, arguments.date),
        landing=Landing(spark, arguments.landing or f"{arguments.lake.rstrip('/')}/landing"),
        env=arguments.env,
        full=arguments.full,
        accept=arguments.accept,
        progress=Progress(as_json=arguments.json_logs),
    )


def lake_tables(spark: SparkSession, lake: str, run_id: str, run_date: date) -> Tables:
    """The lake's tables; for a date before silver's newest, silver's state is built beside the lake's.

    Silver holds the state of its newest date. An earlier date is derived again from silver.events in a scratch
    path, and only that date's gold slices are written to the lake; `publish` removes the scratch path.
    """
    tables = Tables(spark, lake, run_id, run_date)
    newest = tables.last_commit(silver.IDENTITIES)
    if newest and newest.metadata.get("run_date", "") > run_date.isoformat():
        return Tables(spark, lake, run_id, run_date, silver_root=scratch_root(lake, run_date))
    return tables


def scratch_root(lake: str, run_date: date) -> str:
    """Where silver's state of a past date is built."""
    return f"{lake.rstrip('/')}/_scratch/{run_date.isoformat()}"


def guarded(action: Callable[[], int]) -> int:
    """Run, and turn what goes wrong into one plain message and the exit code."""
    try:
        return action()
    except SettingsError as error:
        sys.stderr.write(f"Settings are not valid; nothing was started:\n{error}\n")
        return BAD_USAGE
    except AuditRefused as error:
        sys.stderr.write(f"Not published: {error}\n")
        return REFUSED
    except (MissingTable, ContractError, RunFailed, WrittenMeanwhile) as error:
        sys.stderr.write(f"Failed: {error}\n")
        return FAILED


def a_date(text: str) -> date:
    """An argument that must be a date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write YYYY-MM-DD") from None


def _files(text: str) -> Sequence[str]:
    return tuple(part for part in text.split(",") if part)


def _check_neighbours() -> None:
    """`transforms` is also the name of another vendor's package: say so plainly instead of failing oddly."""
    import jobs
    import transforms

    ours = Path(str(jobs.__file__)).parent.parent
    theirs = Path(str(transforms.__file__)).parent.parent
    if ours != theirs:
        raise SettingsError(
            f"another package called `transforms` comes first on the path ({theirs}); install retail-portraits in an "
            f"environment of its own, or give its zip to spark-submit with --py-files"
        )
