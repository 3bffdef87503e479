"""Customer tags: declared in conf/tags.yaml, measured over customers' timelines.

Adding a tag is YAML only. `measures` is the mini-language, `declarations` the rules model with its checks and the
catalogue, `streams` what tags read of a row, `timelines` a customer's rows as arrays, `kernel` the measures over them,
`engine` the whole, `health` what became of it, `explain` what one value stands on.
"""

from transforms.contracts import Table, gold
from transforms.tags.declarations import Case, Tag, TagRules, catalogue_rows, tag_columns
from transforms.tags.engine import compute_tags, measuring, tags_of_measures
from transforms.tags.health import HealthRules, health_rows, newest_events
from transforms.tags.timelines import build_timelines, timelines_table

__all__ = [
    "Case",
    "HealthRules",
    "Tag",
    "TagRules",
    "build_timelines",
    "catalogue_rows",
    "compute_tags",
    "health_rows",
    "measuring",
    "newest_events",
    "tables_of",
    "tag_columns",
    "tags_of_measures",
    "timelines_table",
]


def tables_of(rules: TagRules) -> list[Table]:
    """The contracts whose columns follow the declarations: silver.timelines and gold.customer_tags."""
    return [timelines_table(rules), gold.customer_tags_table(tag_columns(rules))]
