"""What `make demo` shows: a generated chain and its nights, then UCI Online Retail. The lakes stay in lakes/.

One process for all of it, so that Java starts and warms up once; each command stands as it would be typed.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from jobs import cli
from jobs.runtime.session import build_session
from jobs.runtime.settings import load_settings

CHAIN, RETAIL = "lakes/chain", "lakes/online_retail"
EXAMPLE = "examples/online_retail"
FIRST, LAST = "2026-06-29", "2026-06-30"
LEAVING = "M010000003"

STORY = [
    ("A retail chain with eleven channels, generated", f"""
        generate --landing {CHAIN}/landing --customers 600 --days 400 --nights 2 --date {LAST}"""),
    ("Its night: the whole history", f"""
        nightly --date {FIRST} --lake {CHAIN} --settings scripts/demo.yaml"""),
    ("One day more, on which a customer asks to be forgotten", f"""
        erase member:{LEAVING} --date {LAST} --lake {CHAIN} --settings scripts/demo.yaml
        summary --lake {CHAIN} --settings scripts/demo.yaml"""),
    ("UCI Online Retail, mapped by YAML only", f"""
        nightly --date 2011-12-10 --lake {RETAIL} --landing {EXAMPLE}/landing --settings {EXAMPLE}/settings.yaml
        summary --lake {RETAIL} --settings {EXAMPLE}/settings.yaml"""),
]  # fmt: skip


def main() -> None:
    """Run the story, stopping at the first command that fails."""
    shutil.rmtree("lakes", ignore_errors=True)
    for lake in (CHAIN, RETAIL):
        Path(lake).mkdir(parents=True)
    build_session(load_settings(["scripts/demo.yaml"]))
    for title, commands in STORY:
        print(f"\n── {title} ──", flush=True)
        for command in filter(None, map(str.strip, commands.splitlines())):
            print(f"$ portraits {command}", flush=True)
            code = cli.run(shlex.split(command))
            if code:
                sys.exit(code)


if __name__ == "__main__":
    main()
