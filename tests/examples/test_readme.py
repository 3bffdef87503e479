"""The README's own data set, mapped by exactly what the README says: its files and its commands."""

from __future__ import annotations

import re
import shlex
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs import cli
from jobs.runtime.tables import Tables
from transforms.contracts import gold, ops, silver

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## Your own data, by YAML only") : README.index("## Reading the tables")]


@pytest.fixture(scope="module")
def tables(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The lake that a newcomer gets who types the section into an empty folder."""
    root = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(ROOT / "examples/rfm_orders/landing", root / "rfm")
    for name, text in re.findall(r"`(mine/\S+)`\n\n```yaml\n(.*?)```", SECTION, re.DOTALL):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    commands = re.findall(r"^    portraits (.*)$", SECTION, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["check-settings", "nightly", "summary"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert [cli.run(_below(root, command)) for command in commands] == [0, 0, 0]
    return Tables(spark, str(root / "lakes/mine"), "test", None)


def _below(root: Path, command: str) -> list[str]:
    """The command's words; paths from the folder, since Java does not follow a change of directory."""
    return [str(root / word) if word in ("rfm", "lakes/mine") else word for word in shlex.split(command)]


def test_customers_orders_and_revenue(tables: Tables) -> None:
    orders = tables.read(silver.ORDERS).agg(F.count("*"), F.sum("net_amount")).head()
    assert tuple(orders or ()) == (4_906, Decimal("464158.00"))
    assert tables.read(silver.CUSTOMERS).count() == 995


@pytest.mark.parametrize(
    ("dimension", "cuts"),
    [("recency", [114, 180, 296, 481]), ("frequency", [3, 4, 5, 7]), ("monetary", [254, 381, 505, 665])],
)
def test_quantile_cuts(tables: Tables, dimension: str, cuts: list[int]) -> None:
    found = tables.read(gold.RFM_THRESHOLDS).where(F.col("dimension") == dimension).orderBy("cut").collect()
    assert [int(row.value) for row in found] == cuts


def test_nobody_is_recommended_anything_without_consent(tables: Tables) -> None:
    """The orders say nothing of consent; that there are no lists is published like any others."""
    assert tables.read(gold.RECOMMENDATIONS).count() == 0
    published = {row.table for row in tables.read(ops.PUBLICATIONS).select("table").collect()}
    assert gold.RECOMMENDATIONS.full_name in published
