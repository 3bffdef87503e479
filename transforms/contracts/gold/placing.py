"""What the gold tables share: the columns that place a row, and how long slices of customers are kept."""

from __future__ import annotations

from transforms.contracts import Column

CUSTOMER_SLICE_DAYS = 35  # customer-grain slices are kept this long, and month ends for ever

RUN_DATE = Column("run_date", "date", "运行日期", "The date the row is true for")
CUSTOMER_ID = Column("customer_id", "string", "客户编号", "Customer, stable over full recomputes")
