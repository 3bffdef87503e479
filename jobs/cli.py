"""`portraits <job> …`: one name per job."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from jobs import check_settings, compare, erase, explain, export_contacts, generate, nightly, published, summary, train
from jobs.runtime.job import add_arguments, add_settings_arguments, guarded, run_job

Command = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]

COMMANDS: dict[str, Command] = {
    "nightly": (nightly.__doc__ or "", nightly.add_nightly_arguments, nightly.run_nightly),
    "published": (published.__doc__ or "", published.add_published_arguments, published.run_published),
    "summary": (summary.__doc__ or "", summary.add_summary_arguments, summary.run_summary),
    "explain": (explain.__doc__ or "", explain.add_explain_arguments, explain.run_explain),
    "export-contacts": (
        export_contacts.__doc__ or "",
        export_contacts.add_export_arguments,
        export_contacts.run_export,
    ),
    "erase": (erase.__doc__ or "", erase.add_erase_arguments, erase.run_erase),
    "compare": (compare.__doc__ or "", compare.add_compare_arguments, compare.run_compare),
    "train": (train.__doc__ or "", add_arguments, partial(run_job, train.run)),
    "generate": (generate.__doc__ or "", generate.add_arguments, generate.run_generate),
    "check-settings": (check_settings.__doc__ or "", add_settings_arguments, check_settings.run_check),
}


def main() -> None:
    """Entry of the console script."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """One command, as the console script takes it; the exit code."""
    chosen = _parser().parse_args(arguments)
    return guarded(lambda: chosen.action(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="portraits", description="零售客户画像: customer portraits for a retail chain"
    )
    commands = parser.add_subparsers(title="jobs and commands", metavar="<job>", required=True)
    for name, (doc, add, action) in COMMANDS.items():
        _add(commands, name, doc, add, action)
    for name, job in nightly.STEPS.items():
        doc = sys.modules[job.__module__].__doc__ or ""
        _add(commands, name, doc, add_arguments, partial(run_job, job))
    return parser


def _add(
    commands: argparse._SubParsersAction,
    name: str,
    doc: str,
    add: Callable[[argparse.ArgumentParser], None],
    action: Callable[[argparse.Namespace], int],
) -> None:
    text = doc.strip().removeprefix(f"{name}: ")
    parser = commands.add_parser(name, help=text.splitlines()[0], description=text)
    add(parser)
    parser.set_defaults(action=action)
