"""Why two identifiers are one customer or not, and what a customer consists of."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from rich.console import Console

from jobs.runtime.job import DONE, FAILED
from jobs.runtime.publications import PublishedTables
from transforms.identity.explain import Evidence, density, shortest_chain
from transforms.identity.replay import Node


class IdentityView:
    """What the published tables of identity say of a few identifiers."""

    def __init__(self, tables: PublishedTables) -> None:
        self.read = tables.read

    def owners(self, nodes: Sequence[Node]) -> dict[Node, tuple[str | None, str]]:
        """Customer and status of identifiers."""
        rows = self.read("silver.identities").where(_among("identifier_type", "identifier", nodes)).collect()
        return {(row.identifier_type, row.identifier): (row.customer_id, row.status) for row in rows}

    def members(self, customers: Sequence[str]) -> list[Node]:
        """Identifiers of a few customers."""
        rows = self.read("silver.identities").where(F.col("customer_id").isin(*customers)).collect()
        return sorted((row.identifier_type, row.identifier) for row in rows)

    def evidence(self, nodes: Sequence[Node]) -> list[Evidence]:
        """Links and refusals that touch the identifiers; a refused link is a refusal only."""
        touching = _among("type_a", "value_a", nodes) | _among("type_b", "value_b", nodes)
        found: dict[tuple[Node, Node], Evidence] = {}
        for name in ("silver.identity_links", "silver.identity_refusals"):
            for row in self.read(name).where(touching).collect():
                ends = (row.type_a, row.value_a), (row.type_b, row.value_b)
                before = found[ends].told if ends in found else {}
                found[ends] = Evidence(*ends, {**before, **row.asDict()})
        return list(found.values())


def explain_identity(view: IdentityView, console: Console, a: Node, b: Node) -> int:
    """Print the evidence that makes two identifiers one customer, or what stands between them; 1: not known."""
    owners = view.owners([a, b])
    unheard = [node for node in (a, b) if node not in owners]
    if unheard:
        console.print(f"not known: {', '.join(map(_named, unheard))}: no event up to the last publication carries it")
        return FAILED
    for node in (a, b):
        customer, status = owners[node]
        console.print(f"{_named(node)}: {status}, customer {customer or '–'}")
    customers = sorted({customer for customer, _ in owners.values() if customer})
    chain = shortest_chain(view.evidence([*view.members(customers), a, b]), a, b)
    if owners[a][0] and owners[a][0] == owners[b][0]:
        console.print("They are one customer, by this evidence:")
    elif chain is None:
        console.print("They are not one customer: no chain of events connects them.")
    else:
        console.print("They are not one customer: a link on the only way between them is refused:")
    for link in chain or ():
        console.print(f"  {_told(link)}")
    return DONE


def explain_customer(view: IdentityView, console: Console, customer: str) -> int:
    """Print identifiers, evidence and history of a customer; 1: not known."""
    history = view.read("silver.identity_history")
    times = history.where(F.col("customer_id") == customer).orderBy("valid_from", "identifier_type", "identifier")
    nodes = view.members([customer])
    if not nodes and times.isEmpty():
        console.print(f"{customer} is not known: neither now nor on any earlier day")
        return FAILED
    evidence = view.evidence(nodes)
    inside = [link for link in evidence if not link.is_refused and link.a in nodes and link.b in nodes]
    console.print(f"{customer}: {len(nodes)} identifiers, {len(inside)} links, density {density(len(nodes), inside)}")
    for node in nodes:
        console.print(f"  {_named(node)}")
    for title, links in (("Evidence", inside), ("Refused", [link for link in evidence if link.is_refused])):
        if links:
            console.print(f"{title}:")
        for link in sorted(links, key=lambda link: (link.a, link.b)):
            console.print(f"  {_told(link)}")
    console.print("History:")
    for row in times.collect():
        until = row.valid_to or "now"
        console.print(f"  {row.valid_from} to {until}: {_named((row.identifier_type, row.identifier))}")
    return DONE


def _told(link: Evidence) -> str:
    """A link in words."""
    told = link.told
    strength = (
        f"probability {told['probability']:.6f}" if link.is_likeness else f"{told.get('event_count') or 0} events"
    )
    parts = [f"{_named(link.a)} – {_named(link.b)}", strength]
    if told.get("sources"):
        parts.append(f"from {', '.join(told['sources'])}")
    if told.get("first_arrival_date"):
        parts.append(f"first {told['first_arrival_date']}")
    if told.get("last_seen_at"):
        parts.append(f"last {told['last_seen_at']:%Y-%m-%d %H:%M} UTC")
    if link.is_refused:
        rule = f" ({told['rule']})" if told.get("rule") else ""
        parts.append(f"refused: {told['reason']}{rule}")
    return " · ".join(parts)


def _named(node: Node) -> str:
    return f"{node[0]}:{node[1]}"


def _among(kind: str, value: str, nodes: Sequence[Node]) -> Column:
    """Whether a pair of columns names one of a few identifiers."""
    return F.concat(kind, F.lit(":"), value).isin([_named(node) for node in nodes])
