"""Staff who buy: in every table of customers, but not where customers are compared with each other."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.settings import Settings
from transforms.contracts import Table, silver

Read = Callable[[Table | str], DataFrame]


def without_staff(frame: DataFrame, read: Read, settings: Settings) -> DataFrame:
    """Rows with a customer_id, less those of staff where the settings leave them out.

    Args:
        read: how tables are read: a run's own, or those of a publication.
    """
    if not settings.purchases.exclude_staff:
        return frame
    staff = read(silver.CUSTOMERS).where("is_staff").select("customer_id")
    return frame.join(F.broadcast(staff), "customer_id", "left_anti")
