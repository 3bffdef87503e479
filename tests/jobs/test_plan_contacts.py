"""plan-contacts over a small lake: what it reads, what it leaves recorded, and what `explain contact` tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from jobs import plan_contacts
from jobs.explain_contact import explain_contact
from jobs.runtime.job import JobContext
from jobs.runtime.keys import stored_identifier
from jobs.runtime.publications import PublishedTables
from jobs.runtime.tables import Tables
from tests.builders import DAY, days_before, event, frame, identity
from tests.nights import night
from tests.transforms.test_contact_plan import RULES, STRATEGY
from transforms.contacts.assignments import HOLDOUT
from transforms.contracts import gold, ops, silver
from transforms.tags import tag_columns

EXPERIMENT = {"id": "E", "salt": "e", "variants": {"A": {"share": 0.5}, "B": {"share": 0.5}}}
STRATEGIES = {
    "best": {**STRATEGY, "segments": ["high_value"], "experiment": EXPERIMENT, "products": {"count": 1},
             "message": "{preferred_category|好物}：{product|新品}"},
    "sleepy": {**STRATEGY, "segments": ["sleeping"], "when": "order_count_90d = 0", "priority": 2},
    "party": {**STRATEGY, "segments": ["high_value"], "trigger": {"kind": "birthday"}, "priority": 3},
}  # fmt: skip


def id_of(member: str) -> str:
    return "C" + sha256(f"member:{member}".encode()).hexdigest()[:32]


ANN, BO, CY, DEE = (id_of(f"M{n}") for n in (1, 2, 3, 4))
MEMBERS = {
    ANN: ["high_value", "vip_warning"],
    BO: ["sleeping"],
    CY: ["high_value"],  # on the list of people who are not to be contacted, by phone
    DEE: ["other"],  # no strategy is for them
}
EVENTS = [
    event("t1", "touch", identifiers={"member": "M2"}, props={"contact_channel": "sms"}, campaign_id="sleepy-202606",
          event_date=days_before(3)),
    event("t2", "touch", identifiers={"member": "M2"}, props={"contact_channel": "sms"}, campaign_id="spring",
          event_date=days_before(2)),
    event("t3", "open", identifiers={"member": "M2"}, props={"contact_channel": "email"}, event_date=days_before(1)),
    event("t4", "touch", identifiers={"member": "M1"}, props={"contact_channel": "app"}, experiment_id="E", variant="B",
          event_date=days_before(40)),
]  # fmt: skip


@pytest.fixture(scope="module")
def ctx(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobContext]:
    """The lake as earlier steps would leave it."""
    lake = tmp_path_factory.mktemp("plan") / "lake"
    lake.mkdir()
    codes = [segment for listed in MEMBERS.values() for segment in listed]
    told = yaml.safe_load((Path(__file__).parents[2] / "conf/segments.yaml").read_text(encoding="utf-8"))["segments"]
    every = [segment["code"] for kind in ("primary", "secondary") for segment in told[kind]]
    served = {"high_value", "sleeping"}
    (lake / "off.csv").write_text("identifier_type,identifier,until_date\nphone,139 1234 0003,\nmember,m1,2026-06-30\n")
    own = {
        "contacts": {**RULES, "no_action": [code for code in every if code not in served], "suppressed": "off.csv"},
        "strategies": {**dict.fromkeys(shipped()), **STRATEGIES},
    }
    assert {*codes} <= {*every}
    (lake / "mine.yaml").write_text(yaml.safe_dump(own, allow_unicode=True))
    context = night(lake, lake / "landing", DAY, [str(lake / "mine.yaml")])
    with context.interpreted(0):
        _fill(context)
        yield context


def shipped() -> list[str]:
    text = (Path(__file__).parents[2] / "conf/strategies.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text)["strategies"])


def _fill(ctx: JobContext) -> None:
    spark, today = ctx.spark, F.lit(DAY)
    owners = [identity("member", f"M{n}", owner) for n, owner in enumerate((ANN, BO, CY, DEE), start=1)]
    phones = {ANN: "13912340001", BO: "13912340002", CY: "13912340003"}
    owners += [
        identity("phone", stored_identifier("phone", raw, ctx.settings, "local"), owner)
        for owner, raw in phones.items()
    ]
    golden = [{"customer_id": owner, "consent_marketing": True, "consent_personalised": True} for owner in MEMBERS]
    tags = gold.customer_tags_table(tag_columns(ctx.settings.tags))
    known = {ANN: {"preferred_category": "skincare"}, BO: {"order_count_90d": 0}}
    made = {
        silver.EVENTS: EVENTS,
        silver.IDENTITIES: owners,
        silver.CUSTOMERS: golden,
        tags: [{"run_date": DAY, "customer_id": owner, **known.get(owner, {})} for owner in MEMBERS],
        gold.RFM_SCORES: [{"run_date": DAY, "scope": "chain", "customer_id": owner} for owner in MEMBERS],
        gold.CUSTOMER_VALUES: [{"run_date": DAY, "customer_id": owner} for owner in MEMBERS],
        gold.SEGMENT_MEMBERS: [
            {"run_date": DAY, "segment": s, "customer_id": c, "kind": "primary"}
            for c, all in MEMBERS.items()
            for s in all
        ],
        gold.RECOMMENDATIONS: [
            {"run_date": DAY, "customer_id": ANN, "kind": kind, "rank": rank, "product_id": f"{kind} {rank}"}
            for kind in ("finance", "goods")
            for rank in (2, 1)
        ],
    }
    for table, rows in made.items():
        ctx.tables.replace(table, frame(spark, table, rows).where(today.isNotNull()))
    listed = [
        {"run_id": "r", "run_date": DAY, "table": name, "delta_version": 0, "row_count": 0,
         "published_at": datetime(2026, 7, 1), "is_current": True}
        for name in [*(table.full_name for table in made), gold.CONTACT_PLAN.full_name,
                     gold.EXPERIMENT_ASSIGNMENTS.full_name]
    ]  # fmt: skip
    ctx.tables.replace(ops.PUBLICATIONS, frame(spark, ops.PUBLICATIONS, listed))


def test_a_plan_and_what_it_leaves_recorded(ctx: JobContext) -> None:
    plan_contacts.run(ctx)
    plan = {(row.customer_id, row.strategy): row for row in ctx.tables.read(gold.CONTACT_PLAN).collect()}
    decided = {key: (row.channel or row.suppressed_reason, row.variant) for key, row in plan.items()}
    assert decided == {
        (ANN, "best"): ("sms", "B"),  # by an event of long ago; listed until the run date, contacted the day after
        (BO, "sleepy"): ("app", None),  # two sms in a week are the cap; has no e-mail address
        (CY, "best"): ("suppressed", None),
    }
    assert plan[ANN, "best"].message == "护肤：goods 1"
    assert plan[ANN, "best"].recommended_products == ["goods 1"]
    assert (ctx.facts["contacts"], ctx.facts["left out"], str(ctx.facts["cost"])) == (2, 1, "0.05")

    recorded = ctx.tables.read(gold.EXPERIMENT_ASSIGNMENTS).collect()
    assert {(row.experiment_id, row.anchor, row.variant, row.source) for row in recorded} == {
        ("E", "member:M1", "B", "event"),
        (HOLDOUT, "member:M1", "contact", "hash"),
        (HOLDOUT, "member:M2", "contact", "hash"),
    }
    before = ctx.tables.version(gold.EXPERIMENT_ASSIGNMENTS)
    plan_contacts.run(ctx)
    assert {(r.customer_id, r.strategy): r for r in ctx.tables.read(gold.CONTACT_PLAN).collect()} == plan
    assert ctx.tables.version(gold.EXPERIMENT_ASSIGNMENTS) == before


def test_explain_contact(ctx: JobContext, capsys: pytest.CaptureFixture[str]) -> None:
    """After the test above: why Bo is reached by the app, and why Cy is left alone."""

    def told(customer: str) -> tuple[int, str]:
        view = PublishedTables(Tables(ctx.spark, ctx.tables.lake, "explain", None))
        code = explain_contact(view, Console(highlight=False, markup=False, soft_wrap=True), ctx.settings, customer)
        return code, capsys.readouterr().out

    if not ctx.tables.exists(gold.CONTACT_PLAN):
        plan_contacts.run(ctx)
    code, bo = told(BO)
    assert code == 0
    for part in (
        f"{BO} on {DAY}",
        "contact: sleepy 策略 by app at 10:00, as sleeping",
        "cap of sms: 2 of 2 in 7 days",
        "opened or clicked in 180 days: email 1",
        "campaign sleepy-202606",
        "not for this customer: best 策略: in none of high_value",
        "recorded in experiments: universal_holdout contact",
    ):
        assert part in bo, (part, bo)
    code, cy = told(CY)
    assert code == 0
    assert "left out: best 策略, as high_value: suppressed" in cy
    assert "contacts.suppressed" in cy
    assert "not for this customer: party 策略: not the customer's birthday" in cy
    assert told("nobody")[0] == 1
