"""`portraits generate`: sample files of all eleven channels, and the truth about who is who.

Writes `<landing>/<source>/dt=YYYY-MM-DD/<source>_NN.<ext>` and, beside the landing folder, `truth/identifiers`.
The same arguments write the same files.
"""

from __future__ import annotations

import argparse
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from jobs.runtime.files import Files
from jobs.runtime.listed_rows import listed_rows
from transforms.simulation.feeds import FEEDS, Feed, as_lines, header_line, simulate_feed
from transforms.simulation.people import simulate_people
from transforms.simulation.plan import SimulationPlan
from transforms.simulation.truth import true_identifiers

_log = logging.getLogger(__name__)
_FEEDS_AT_ONCE = 2
_ORDER = ("_dt", "_file", "_is_header_first", "_date", "_second", "_key")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `portraits generate`."""
    parser.add_argument("--landing", required=True, help="folder or URI to write the sources' files to")
    parser.add_argument("--customers", type=_whole_number, default=2_000, help="people, as 2000 or 1e5")
    parser.add_argument("--days", type=_whole_number, default=400, help="days of history that end on --date")
    parser.add_argument("--nights", type=_whole_number, default=3, help="last days in dt folders of their own")
    parser.add_argument("--date", type=date.fromisoformat, default=date(2026, 6, 30), help="last day, YYYY-MM-DD")
    parser.add_argument("--seed", type=_whole_number, default=20260101, help="another seed, other people")


def run(spark: SparkSession, arguments: argparse.Namespace) -> dict[str, int]:
    """Generate as the command line says."""
    plan = SimulationPlan(
        customers=arguments.customers,
        days=arguments.days,
        nights=arguments.nights,
        end_date=arguments.date,
        seed=arguments.seed,
    )
    return generate(spark, arguments.landing, plan)


def generate(spark: SparkSession, landing: str, plan: SimulationPlan) -> dict[str, int]:
    """Write every source's files and the truth.

    Returns:
        Rows written per source, re-sent ones among them, headers not.
    """
    landing = landing.rstrip("/")
    # a range of its own size, not of the machine's: small runs should not pay for many tasks
    slices = max(spark.sparkContext.defaultParallelism, -(-plan.customers // 50_000))
    ids = spark.range(0, plan.customers, 1, slices)
    # Each feed asks for the people again, some four times: kept, they are worked out once and plans stay small.
    aside = f"{landing}/.writing_people"
    simulate_people(ids, plan).write.mode("overwrite").parquet(aside)
    people = spark.read.parquet(aside)

    def write(feed: Feed) -> int:
        started = time.monotonic()
        rows = _write_feed(spark, feed, people, landing, plan)
        _log.info("%s: %s rows in %.1f s", feed.name, f"{rows:,}", time.monotonic() - started)
        return rows

    with ThreadPoolExecutor(_FEEDS_AT_ONCE) as pool:  # planning a feed takes one thread, and as long as writing it
        written = dict(zip(FEEDS, pool.map(write, FEEDS.values()), strict=True))
    truth = f"{_parent(landing)}/truth/identifiers"
    true_identifiers(people, plan).write.mode("overwrite").parquet(truth)
    Files(spark).remove(aside)
    _log.info("%s: %s rows of %s sources; truth in %s", landing, f"{sum(written.values()):,}", len(written), truth)
    return written


def _write_feed(spark: SparkSession, feed: Feed, people: DataFrame, landing: str, plan: SimulationPlan) -> int:
    """Replace the feed's folder: one file per dt and file number, written aside and moved with plain names."""
    target = f"{landing}/{feed.name}"
    aside = f"{landing}/.writing_{feed.name}"
    rows = simulate_feed(feed, people, plan)
    counted = Observation()
    rows = rows.observe(counted, F.count(F.lit(1)).alias("rows"))
    ordered = rows.withColumn("_is_header_first", F.lit(1))
    if not feed.is_parquet:
        ordered = _with_headers(spark, feed, ordered, as_lines(feed, ordered, plan), plan)
    spread = ordered.repartitionById(_file_count(plan), _place(plan)).sortWithinPartitions(*_ORDER)
    kept = [name for name in spread.columns if not name.startswith("_") or name in ("_dt", "_file")]
    writer = spread.select(*kept).write.mode("overwrite").partitionBy("_dt", "_file")
    if feed.is_parquet:
        writer.parquet(aside)
    else:
        writer.option("compression", "gzip" if feed.extension.endswith(".gz") else "none").text(aside)
    _move_files(Files(spark), aside, target, feed)
    return int(counted.get["rows"])


def _with_headers(
    spark: SparkSession, feed: Feed, rows: DataFrame, lines: DataFrame, plan: SimulationPlan
) -> DataFrame:
    """The lines with a header line first in each file of a CSV feed."""
    header = header_line(feed, rows)
    if header is None:
        return lines
    files = [(dt, number) for dt in plan.arrival_dates for number in range(_files_on(plan, dt, feed))]
    headers = listed_rows(spark, files, "_dt date, _file int").select(
        "*",
        F.lit(0).alias("_is_header_first"),
        F.lit(None).cast("date").alias("_date"),
        F.lit(None).cast("int").alias("_second"),
        F.lit(None).cast("bigint").alias("_key"),
        F.lit(header).alias("value"),
    )
    return lines.unionByName(headers)


def _files_on(plan: SimulationPlan, dt: date, feed: Feed) -> int:
    """Files of one folder, the re-sent one included."""
    regular = plan.backlog_files if dt == plan.backlog_date else plan.night_files
    is_resend = feed.resends and plan.resend_dates is not None and dt == plan.resend_dates[1]
    return regular + int(is_resend)


def _file_count(plan: SimulationPlan) -> int:
    return plan.backlog_files + plan.nights * (plan.night_files + 1)


def _place(plan: SimulationPlan) -> Column:
    """Number of the file among all files of the feed, so that each file is one task's work."""
    night = F.datediff(F.col("_dt"), F.lit(plan.backlog_date)) - 1
    own_place = plan.backlog_files + night * (plan.night_files + 1) + F.col("_file")
    return F.when(F.col("_dt") == F.lit(plan.backlog_date), F.col("_file")).otherwise(own_place).cast("int")


def _move_files(files: Files, aside: str, target: str, feed: Feed) -> None:
    """Move the one part of each `_dt=…/_file=…` folder to its plain name; earlier files of the source go."""
    files.remove(target)
    for part in files.glob(f"{aside}/_dt=*/_file=*/part-*"):
        dt_folder, file_folder = part.split("/")[-3:-1]
        dt, number = dt_folder.removeprefix("_dt="), int(file_folder.removeprefix("_file="))
        name = f"{feed.name}_{number:02d}.{feed.extension}"
        files.move(part, f"{target}/dt={dt}/{name}")
        files.remove(f"{target}/dt={dt}/.{name}.crc")
    files.remove(aside)


def _parent(landing: str) -> str:
    return landing.rpartition("/")[0] or "."


def _whole_number(text: str) -> int:
    """`2000`, `1e5` or `1_000`."""
    value = float(text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(value)


def run_generate(arguments: argparse.Namespace) -> int:
    """Entry of `portraits generate`: a session of its own, and what was written, for a person."""
    from jobs.runtime.session import build_session
    from jobs.runtime.settings import load_settings

    logging.basicConfig(level=logging.INFO, format="        %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    run(build_session(load_settings()), arguments)
    return 0
