"""Customer tags: declared in conf/tags.yaml, compiled into one plan over a customer's daily partials.

Adding a tag is YAML only. `measures` is the mini-language, `declarations` the rules model with its checks and the
catalogue, `engine` the computation, `health` what became of it, `explain` what one value stands on.
"""

from transforms.tags.declarations import Case, Tag, TagRules, catalogue_rows, tag_columns
from transforms.tags.engine import compute_tags
from transforms.tags.health import HealthRules, health_rows, newest_events

__all__ = [
    "Case",
    "HealthRules",
    "Tag",
    "TagRules",
    "catalogue_rows",
    "compute_tags",
    "health_rows",
    "newest_events",
    "tag_columns",
]
