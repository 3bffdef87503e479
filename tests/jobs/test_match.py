"""The probabilistic tier on public data with known truth, mapped by YAML only, read back from silver.identities."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.tables import Tables
from tests.nights import night, run_steps
from transforms.contracts import silver

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data/identity"
DAY = date(2026, 1, 1)
SET_BY = {"febrl": ROOT / "examples/febrl/settings.yaml", "splink": ROOT / "examples/fake_1000/settings.yaml"}

pytest.importorskip("splink", reason="the optional extra [match] is not installed")
with_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the data sets are not in the repository, nor at {DATA}")


def resolved(root: Path, names: Iterable[str]) -> Path:
    """A lake with the identities of some files of shared/data/identity."""
    family = ""
    for name in names:
        family, file = name.split("/")
        (root / "landing").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(DATA / family / file, root / "landing" / file)
    ctx = night(root / "lake", root / "landing", DAY, (str(SET_BY[family]),))
    run_steps(ctx, "ingest-events", "clean-events", "resolve-identities")
    return root / "lake"


def truth(names: Iterable[str]) -> dict[str, str]:
    """Record to person."""
    persons = {}
    for name in names:
        rows = csv.DictReader(gzip.decompress((DATA / name).read_bytes()).decode().splitlines(), skipinitialspace=True)
        for row in rows:
            record = row.get("rec_id") or row["unique_id"]
            persons[record] = row.get("cluster") or re.findall(r"rec-(\d+)-", record)[0]
    return persons


def quality(owners: dict[str, str], persons: dict[str, str]) -> tuple[float, float, float]:
    """Pairwise precision, recall and F1."""
    assert set(owners) == set(persons)  # nobody is lost
    both = pairs(Counter((owners[record], persons[record]) for record in persons))
    precision, recall = both / pairs(Counter(owners.values())), both / pairs(Counter(persons.values()))
    return precision, recall, 2 * precision * recall / (precision + recall)


def pairs(sizes: Counter) -> int:
    return sum(n * (n - 1) // 2 for n in sizes.values())


@with_data
@pytest.mark.parametrize(
    ("names", "baseline"),
    [
        pytest.param(["splink/fake_1000.csv.gz"], 0.642, id="fake_1000"),
        pytest.param(["febrl/dataset1.csv.gz"], 0.985, id="febrl1"),
        pytest.param(["febrl/dataset3.csv.gz"], 0.981, id="febrl3", marks=pytest.mark.soak),
        pytest.param(["febrl/dataset4a.csv.gz", "febrl/dataset4b.csv.gz"], 0.988, id="febrl4", marks=pytest.mark.soak),
    ],
)
def test_f1_is_above_that_of_exact_rules(
    spark: SparkSession, tmp_path: Path, names: list[str], baseline: float
) -> None:
    lake = resolved(tmp_path, names)
    rows = Tables(spark, str(lake), "test", None).read(silver.IDENTITIES).collect()
    owners = {row.identifier: row.customer_id for row in rows}
    precision, recall, f1 = quality(owners, truth(names))
    # The figures of docs/identity.md.
    print(f"{' '.join(names)}: precision {precision:.4f}, recall {recall:.4f}, F1 {f1:.4f}, baseline {baseline}")  # noqa: T201
    assert f1 > baseline
