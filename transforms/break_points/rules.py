"""What `conf/break_points.yaml` says: how far back to look, and from when on a fall is an alarm."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class BreakPointRules(BaseModel):
    """When a fall is an alarm (section `break_points`).

    Attributes:
        look_back_weeks: a date is held against the same weekdays of so many weeks before it.
        minimum_days: with fewer days known before it, a date is not judged.
        minimum_volume: where fewer events are expected, a date is not judged.
        z: an alarm is at least so many robust standard deviations below what was expected,
        least_fall: and lies by at least this share below it,
        alpha: and all scopes of a night together raise a false alarm in this share of nights.
        usual_spells: what fell as low this often in the look-back, days in a row being one, falls as usual: no alarm.
        usual_z: a rate is only judged where the stage before it is within so many of what was expected.
        missing_share: a feed with this share of its usual events, or less, is missing.
        late_days: data that comes at most so many days after its date is late, not missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    look_back_weeks: int = Field(ge=4, le=26)
    minimum_days: int = Field(ge=14)
    minimum_volume: int = Field(ge=1)
    z: float = Field(gt=0)
    least_fall: float = Field(gt=0, lt=1)
    alpha: float = Field(gt=0, lt=1)
    usual_spells: int = Field(ge=1)
    usual_z: float = Field(gt=0)
    missing_share: float = Field(ge=0, lt=0.5)
    late_days: int = Field(ge=1, le=28)

    @property
    def baseline_days(self) -> int:
        """Days before the judged one that it is held against."""
        return 7 * self.look_back_weeks
