"""Why a customer is in its segments: the primary rule that matched, those tried before it, and the secondary ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Row
from pyspark.sql import functions as F
from rich.console import Console

from jobs.runtime.answers import NEVER_PUBLISHED, of_customer, refused
from jobs.runtime.job import DONE, FAILED
from jobs.runtime.portraits import portraits_of, segment_facts_of
from jobs.runtime.publications import PublishedTables
from jobs.runtime.settings import Settings
from transforms.contracts import gold
from transforms.segments import Segment, SegmentRules, rule_outcomes

Outcomes = Mapping[str, Sequence[Row]]  # by segment: a row for each of its rule's conditions


def explain_segment(view: PublishedTables, console: Console, settings: Settings, customer: str) -> int:
    """Print which rules hold for a customer and why the others do not, from the tables that the rules read.

    1 where customer or date is not known, or the memberships are not those that are stored.
    """
    rules, day = settings.segments, view.run_date
    if day is None:
        return refused(console, NEVER_PUBLISHED)
    facts = segment_facts_of(view.read, settings, day)
    portrait = portraits_of(view.read, settings, day).where(of_customer(customer)).join(facts, "customer_id", "left")
    found = rule_outcomes(portrait, day, rules).head()
    if found is None:
        return refused(console, f"{customer} is no customer on {day}")
    outcomes = {segment.code: [row for row in found.outcomes if row.segment == segment.code] for segment in rules.all}
    members = _members(view, customer)
    console.print(f"{customer} on {day}")
    again = [_print_primary(console, rules, outcomes, members), *_print_secondary(console, rules, outcomes, members)]
    return _print_verdict(console, again, members)


def _members(view: PublishedTables, customer: str) -> dict[str, Row]:
    """The stored memberships of the run date, by segment, each with the date on which it began."""
    of_day = view.read(gold.SEGMENT_MEMBERS).where(of_customer(customer) & (F.col("run_date") == F.lit(view.run_date)))
    holds = F.coalesce(F.col("exited_date") > F.lit(view.run_date), F.lit(True))
    stays = view.read_or_empty(gold.SEGMENT_HISTORY).where(of_customer(customer) & holds)
    begun = stays.where(F.col("entered_date") <= F.lit(view.run_date)).select("segment", "kind", "entered_date")
    return {row.segment: row for row in of_day.join(begun, ["segment", "kind"], "left").collect()}


def _print_primary(console: Console, rules: SegmentRules, outcomes: Outcomes, members: Mapping[str, Row]) -> str:
    """The first primary rule that holds, then those before it with the conditions that did not."""
    place = next(n for n, segment in enumerate(rules.primary) if _holds(outcomes[segment.code]))
    matched = rules.primary[place]
    console.print(f"primary: {_named(matched, members)}")
    _print_rule(console, matched, outcomes)
    console.print("tried before it:" if place else "no rule was tried before it")
    for segment in rules.primary[:place]:
        console.print(f"  {segment.code} {segment.label}: {segment.when}")
        for row in outcomes[segment.code]:
            if not row.holds:
                unknown = "unknown, so it does not hold" if row.holds is None else "does not hold"
                console.print(f"    {row.condition}: {unknown} ({', '.join(row.read)})")
    return matched.code


def _print_secondary(
    console: Console, rules: SegmentRules, outcomes: Outcomes, members: Mapping[str, Row]
) -> list[str]:
    """Every secondary rule that holds, and the names of those that do not."""
    matched = [segment for segment in rules.secondary if _holds(outcomes[segment.code])]
    console.print(f"secondary: {len(matched) or 'none'} of {len(rules.secondary)}")
    for segment in matched:
        console.print(f"  {_named(segment, members)}")
        _print_rule(console, segment, outcomes, "  ")
    others = [segment.code for segment in rules.secondary if segment not in matched]
    if others:
        console.print(f"  do not hold: {', '.join(others)}")
    return [segment.code for segment in matched]


def _print_rule(console: Console, segment: Segment, outcomes: Outcomes, indent: str = "") -> None:
    read = list(dict.fromkeys(value for row in outcomes[segment.code] for value in row.read))
    values = f" ({', '.join(read)})" if read else ""
    console.print(f"{indent}  {segment.when}{values}")


def _print_verdict(console: Console, again: Iterable[str], members: Mapping[str, Row]) -> int:
    missing, more = sorted({*members} - {*again}), sorted({*again} - {*members})
    if not missing and not more:
        console.print("stored memberships: the same")
        return DONE
    told = [f"{word} {', '.join(codes)}" for word, codes in (("only stored:", missing), ("not stored:", more)) if codes]
    console.print(f"stored memberships: THEY DO NOT AGREE ({'; '.join(told)})")
    return FAILED


def _holds(rows: Sequence[Row]) -> bool:
    return all(row.holds for row in rows)


def _named(segment: Segment, members: Mapping[str, Row]) -> str:
    stored = members.get(segment.code)
    since = f", since {stored.entered_date}" if stored is not None and stored.entered_date else ""
    return f"{segment.code} {segment.label}{since}: {segment.description}"
