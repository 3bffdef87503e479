"""What reads which tags: rules and tables. A tag that drives nothing is a candidate for pruning."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.contacts.plan import PLANNED_BY
from transforms.contacts.rules import Strategies, columns_read
from transforms.contracts import silver
from transforms.expressions import columns_in
from transforms.kpis import KpiRules
from transforms.recommendations.rules import RecommendationRules
from transforms.segments import READ_TAGS, SegmentRules
from transforms.values.rules import ValueRules


def tag_users(
    tags: Iterable[str],
    segments: SegmentRules,
    value: ValueRules,
    recommendations: RecommendationRules,
    strategies: Strategies,
    kpis: KpiRules,
) -> dict[str, list[str]]:
    """Tag to the names of the rules and tables that read it; tags that nothing reads have none."""
    readers = {f"table:{table}": sorted(read) for table, read in READ_TAGS.items()}
    readers |= {f"segment:{segment.code}": sorted(columns_in(segment.when)) for segment in segments.all}
    readers |= {f"value:{name}": list(read) for name, read in value.tags_read().items()}
    readers |= {"recommendations:preferred_category": list(recommendations.preferred_category.tags)}
    readers |= {
        f"recommendations:{product.code}": sorted(columns_in(product.when)) for product in recommendations.finance
    }
    readers |= {f"strategy:{code}": sorted(columns_read({code: strategy})) for code, strategy in strategies.items()}
    readers |= {  # of the customers that KPIs read, columns of silver.customers come first
        f"kpi:{code}": sorted(KpiRules(kpis={code: kpi}).columns_read("customers") - {*silver.CUSTOMERS.column_names})
        for code, kpi in kpis.kpis.items()
    }
    readers |= {"table:gold.contact_plan": sorted(PLANNED_BY)}
    users: dict[str, list[str]] = {tag: [] for tag in tags}
    for reader, columns in readers.items():
        for column in columns:
            if column in users:
                users[column].append(reader)
    return users
