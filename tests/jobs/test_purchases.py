"""Whose purchases are compared, and whether gifts are purchases: what the settings say, in the jobs that ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import score_rfm
from jobs.runtime.job import JobContext
from tests.builders import DAY, TIERS, event, frame, identity
from tests.nights import night
from transforms.activity import build_activity
from transforms.contracts import gold, silver
from transforms.orders import build_order_lines

COUNT_ALL = "purchases: {exclude_gifts: false, exclude_staff: false}"
EVENTS = [
    event("a", amount=100, identifiers={"member": "M1"}),
    event("b", amount=300, identifiers={"member": "M2"}),
    event("b gift", amount=50, identifiers={"member": "M2"}, is_gift=True),
    event("s", amount=900, identifiers={"member": "S"}),
    event("s back", "return", amount=5, order_id="unheard", identifiers={"member": "S"}),
    event("guest", amount=7, identifiers=None),
]


def context(spark: SparkSession, lake: Path, settings: str | None = None) -> JobContext:
    """Silver of two customers and one of the staff, as its jobs would leave it."""
    lake.mkdir()
    (lake / "mine.yaml").write_text(settings or "")
    ctx = night(lake, lake / "landing", DAY, [str(lake / "mine.yaml")])
    ctx.tables.replace(silver.EVENTS, frame(spark, silver.EVENTS, EVENTS))
    owners = [identity("member", name, name) for name in ("M1", "M2", "S")]
    golden = [
        {"customer_id": "M1", "is_staff": False},
        {"customer_id": "M2"},  # nobody said: no staff
        {"customer_id": "S", "is_staff": True},
    ]
    ctx.tables.replace(silver.IDENTITIES, frame(spark, silver.IDENTITIES, owners))
    ctx.tables.replace(silver.CUSTOMERS, frame(spark, silver.CUSTOMERS, golden))
    ctx.tables.replace(silver.ORDER_LINES, build_order_lines(ctx.events(), DAY, TIERS, "exclude"))
    ctx.tables.replace(silver.ACTIVITY, build_activity(ctx.events(), DAY, "UTC", TIERS, "exclude"))
    return ctx


@pytest.mark.parametrize(
    ("settings", "money", "cuts", "lines"),
    [
        # Staff keep a row and score 0; the cuts are those of two customers. The gift is no line.
        (None, {"M1": (1, 100, 1), "M2": (1, 300, 3), "S": (0, 0, 0)}, [100, 100, 300, 300], {"a", "b"}),
        (COUNT_ALL, {"M1": (1, 100, 1), "M2": (2, 350, 2), "S": (1, 895, 4)}, [100, 350, 350, 895],
         {"a", "b", "b gift", "s"}),
    ],
    ids=["left out", "counted"],
)  # fmt: skip
def test_staff_and_gifts(
    spark: SparkSession,
    tmp_path: Path,
    settings: str | None,
    money: dict[str, tuple[int, int, int]],
    cuts: list[int],
    lines: set[str],
) -> None:
    ctx = context(spark, tmp_path / "lake", settings)
    assert {row.event_id for row in ctx.counted(silver.ORDER_LINES).collect()} == lines
    score_rfm.run(ctx)
    scores = ctx.tables.read(gold.RFM_SCORES).collect()
    assert {row.customer_id: (row.frequency, row.monetary, row.m_score) for row in scores} == money
    thresholds = ctx.tables.read(gold.RFM_THRESHOLDS).where("dimension = 'monetary'").orderBy("cut").collect()
    assert [row.value for row in thresholds] == cuts
