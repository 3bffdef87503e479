"""What `conf/feedback.yaml` says: the words that tell an opinion or a topic, and when a product breaks out."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _listed(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Words, apart by spaces; those of a phrase are joined by `_`, and `*` at the end stands for any ending."""

ALL = "all"
"""In place of a product: the chain; in place of a topic: whatever was said."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Degree(_Model):
    """Words that make the opinion after them stronger, or weaker."""

    factor: float = Field(gt=0, le=3)
    words: Words


class Opinions(_Model):
    """Words of one strength of opinion."""

    label: str
    description: str
    weight: int = Field(ge=-5, le=5)
    words: Words


class Topic(_Model):
    """What people speak of; one of its words mentions it."""

    label: str
    description: str
    words: Words


class Alarm(_Model):
    """When mentions of a window stand out from what was expected."""

    least_mentions: int = Field(ge=1)
    least_ratio: float = Field(ge=1)
    least_z: float = Field(ge=0)


class Breakout(Alarm):
    """When a product is a 爆款: much more is said of it than before, and most of it is good."""

    least_positive_share: float = Field(ge=0, le=1)


class FeedbackRules(_Model):
    """How feedback is read (section `feedback`).

    Attributes:
        event_types: events whose text and rating are feedback.
        good_stars: a rating from here on is positive, whatever the words.
        poor_stars: a rating up to here is negative; of those between, and without one, the words decide.
        least_score: words make an opinion when their sum is at least this, or at most its negative.
        reach: tokens over which a negation or degree is felt: English words, Chinese characters.
        negated: what a negation multiplies the next opinion by.
        bare_negation: what a negation that meets no opinion counts for.
        before_contrast: what a contrast multiplies all opinions before it by.
        window_days: mentions of so many days up to the run date are counted …
        baseline_days: … and held against those of so many days before.
        idioms: read as a whole and without meaning, so that no part of them is taken for another word.
    """

    event_types: tuple[str, ...] = Field(min_length=1)
    good_stars: int = Field(ge=1, le=5)
    poor_stars: int = Field(ge=1, le=5)
    least_score: float = Field(gt=0)
    reach: int = Field(ge=1)
    negated: float = Field(ge=-1, le=0)
    bare_negation: float = Field(ge=-1, le=0)
    before_contrast: float = Field(ge=0, le=1)
    window_days: int = Field(ge=1)
    baseline_days: int = Field(ge=1)
    breakout: Breakout
    complaint: Alarm
    negations: Words
    degrees: dict[Code, Degree]
    contrasts: Words
    idioms: Words
    opinions: dict[Code, Opinions] = Field(min_length=1)
    topics: dict[Code, Topic] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> FeedbackRules:
        if self.poor_stars >= self.good_stars:
            raise ValueError(f"poor_stars is {self.poor_stars}; it must be below good_stars ({self.good_stars})")
        if ALL in self.topics:
            raise ValueError(f"a topic cannot be called {ALL!r}, which stands for all of them")
        weights: dict[str, str] = {}
        for name, opinions in self.opinions.items():
            for word in opinions.words:
                if weights.setdefault(word, name) != name:
                    raise ValueError(f"{word!r} stands under opinions {weights[word]} and {name}")
        return self
