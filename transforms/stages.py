"""The stages of 存贷转化, from being reached to a loan: what `conf/stages.yaml` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transforms.contracts import silver
from transforms.expressions import SqlExpression, unknown_columns

StageName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Model):
    """One stage: rows of silver.activity for which `when` holds; `beside` counts beside the last stage of the way."""

    label: str
    description: str
    when: SqlExpression
    beside: bool = False


class StageRules(_Model):
    """Section `stages`, which may be given as the mapping that it is: the way in order, then what is beside."""

    stages: dict[StageName, Stage] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _bare_section(cls, value: object) -> object:
        return value if isinstance(value, dict) and set(value) == {"stages"} else {"stages": value}

    @model_validator(mode="after")
    def _way_comes_first(self) -> StageRules:
        beside = [stage.beside for stage in self.stages.values()]
        if beside[0] or beside != sorted(beside):
            raise ValueError("stages on the way come first, then those with beside: true; at least one is on the way")
        return self

    @property
    def way(self) -> Mapping[str, Stage]:
        """The stages on the way, in order."""
        return {name: stage for name, stage in self.stages.items() if not stage.beside}


def check_columns(rules: StageRules) -> list[str]:
    """A sentence for each column that a stage reads and silver.activity does not have."""
    return [
        f"stages.{name}.when: {problem}"
        for name, stage in rules.stages.items()
        for problem in unknown_columns(stage.when, silver.ACTIVITY.column_names)
    ]
