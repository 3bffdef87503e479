"""Customer tags: declared in conf/tags.yaml, compiled into one plan over a customer's daily partials.

Adding a tag is YAML only. `measures` is the mini-language, `declarations` the rules model with its checks and the
catalogue, `engine` the computation.
"""

from transforms.tags.declarations import Case, Tag, TagRules, catalogue_rows, tag_columns
from transforms.tags.engine import compute_tags

__all__ = ["Case", "Tag", "TagRules", "catalogue_rows", "compute_tags", "tag_columns"]
