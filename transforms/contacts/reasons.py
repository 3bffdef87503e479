"""Why a candidate of the contact plan is left out, in words."""

from __future__ import annotations

REASONS = {
    "staff": "people who work for the chain are not contacted",
    "no_consent": "never consented to marketing, or took it back",
    "suppressed": "listed in contacts.suppressed",
    "holdout": "in the universal holdout, by which all strategies together are judged",
    "no_finance_consent": "never consented to finance, or took it back",
    "minor": "under 18: no finance offers",
    "human_review": "a person must look at the risk tier first",
    "contacted_recently": "the strategy's last contact lies within its rest_days",
    "unreachable": "has no identifier by which a channel of the strategy reaches people",
    "unsubscribed": "unsubscribed from every channel of the strategy that reaches them",
    "experiment_conflict": "was in two variants before two customers were found to be one",
    "control": "in the variant of the experiment that is not contacted",
    "lower_priority": "strategies of higher priority took the contacts of the day",
    "over_cap": "every channel left is at a cap",
}
