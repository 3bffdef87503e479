"""What to simulate: how many customers, over which days, delivered in which folders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

_CUSTOMER_DAYS_PER_BACKLOG_FILE = 10_000_000
_CUSTOMERS_PER_NIGHT_FILE = 100_000


@dataclass(frozen=True)
class SimulationPlan:
    """All that decides the generated rows; two equal plans give equal files.

    Attributes:
        customers: people, numbered from 0; not all of them become members or buy.
        days: length of the history, ending on `end_date`.
        nights: the last days, each delivered in its own dt folder; all before is one backlog folder.
        end_date: last business date (Asia/Shanghai).
        seed: another seed, other people.
    """

    customers: int
    days: int
    nights: int
    end_date: date
    seed: int = 20260101

    def __post_init__(self) -> None:
        if self.customers < 1:
            raise ValueError(f"customers is {self.customers}; it must be at least 1")
        if not 0 <= self.nights < self.days:
            raise ValueError(f"nights is {self.nights}; it must be from 0 to days - 1 ({self.days - 1})")

    @property
    def first_date(self) -> date:
        """First day of the history."""
        return self.end_date - timedelta(days=self.days - 1)

    @property
    def backlog_date(self) -> date:
        """Arrival date of everything before the nights: the historical load."""
        return self.end_date - timedelta(days=self.nights)

    @property
    def arrival_dates(self) -> list[date]:
        """Every dt folder, oldest first."""
        return [self.backlog_date + timedelta(days=number) for number in range(self.nights + 1)]

    @property
    def resend_dates(self) -> tuple[date, date] | None:
        """A night whose first file is delivered again, under another name, on the night after it."""
        return (self.arrival_dates[1], self.arrival_dates[2]) if self.nights >= 2 else None

    @property
    def stores(self) -> int:
        """Stores of the chain: it grows with its customers."""
        return min(self.customers, max(8, min(1_000, self.customers // 250)))

    @property
    def backlog_files(self) -> int:
        """Files per source in the backlog folder."""
        return max(1, -(-self.customers * self.days // _CUSTOMER_DAYS_PER_BACKLOG_FILE))

    @property
    def night_files(self) -> int:
        """Files per source in the folder of one night."""
        return max(1, -(-self.customers // _CUSTOMERS_PER_NIGHT_FILE))
