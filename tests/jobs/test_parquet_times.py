"""Times in Parquet mean what whoever wrote them meant: instants are instants, and without a zone it is local time."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.nights import night, run_steps
from transforms.contracts import silver

NIGHT = date(2026, 6, 2)
# Half past eight in the morning of Shanghai, the business timezone: half an hour after midnight by UTC.
LOCAL = datetime(2026, 6, 1, 8, 30, 15, 250_000)
INSTANT = LOCAL.replace(tzinfo=timezone(timedelta(hours=8)))
WRITTEN = {
    "utc": (pa.timestamp("us", "UTC"), INSTANT),  # what Spark writes, and pandas where a zone is known
    "elsewhere": (pa.timestamp("ms", "America/New_York"), INSTANT),  # a zone beside an instant changes nothing
    "naive": (pa.timestamp("us"), LOCAL),  # what pandas writes of naive times
    "text": (pa.string(), LOCAL.isoformat()),
    "text_with_zone": (pa.string(), INSTANT.isoformat()),
}
INT96 = {"int96": (pa.timestamp("us", "UTC"), INSTANT)}  # what Hive and Impala write


def test_a_time_is_read_as_it_was_meant(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    for name, columns in {"new": WRITTEN, "old": INT96}.items():
        folder = tmp_path / f"landing/{name}/dt={NIGHT}"
        folder.mkdir(parents=True)
        table = pa.table({column: pa.array([value], kind) for column, (kind, value) in columns.items()})
        pq.write_table(table, folder / "rows.parquet", use_deprecated_int96_timestamps=name == "old")
        records = [{"name": column, "event_type": "visit", "event_at": column} for column in columns]
        source = {
            "name": name, "label": name, "channel": "store_pos", "format": "parquet", "columns": [*columns],
            "records": [{**record, "props": {"column": f"'{record['name']}'"}} for record in records],
        }  # fmt: skip
        (tmp_path / f"sources/{name}.yaml").write_text(yaml.safe_dump(source))
    (tmp_path / "settings.yaml").write_text("sources: sources\n")
    ctx = night(tmp_path / "lake", tmp_path / "landing", NIGHT, [str(tmp_path / "settings.yaml")])
    run_steps(ctx, "ingest-events", "clean-events")
    events = ctx.tables.read(silver.EVENTS).select("props.column", F.unix_micros("event_at"), "event_date").collect()
    meant = (int(INSTANT.timestamp() * 1_000_000), LOCAL.date())
    assert {row[0]: tuple(row)[1:] for row in events} == dict.fromkeys({**WRITTEN, **INT96}, meant)
