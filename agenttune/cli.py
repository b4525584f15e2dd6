# SPDX-License-Identifier: GPL-2.0-only
"""argv to frozen Args; the help text, the manual pages' source."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import agenttune
from agenttune.argument import byte_count, checked, seconds
from agenttune.errors import InputError
from agenttune.evaluate_options import add_evaluate
from agenttune.host.selector import Selector
from agenttune.measure.choice import StepId
from agenttune.measure.probe_layout import DEFAULT_MAX_BYTES, ProbeName
from agenttune.module_options import add_module
from agenttune.options import (
    STATE_DIRECTORY,
    add_agents,
    add_confirm_within,
    add_dry_run,
    add_engine,
    add_json,
    add_profile,
    add_recording,
    add_root,
    add_seconds,
    add_state_dir,
    add_steps,
)

EXIT_CODES = """exit status:
  0  done
  1  an error; the message says what, where and what to do
  2  the host does not look as it should: drift, or interrupt work that did not move
  3  revert left something behind: a foreign change, a lost device or a failed write"""

DEFAULT_PROFILE = "agent-latency"
# Trace viewers become slow with more; one step is some ten slices.
VIEWED_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Args:
    """Everything the user said; a verb reads the members that its parser sets.

    `evaluation`: the options of 'evaluate', which has too many to list, for request_of().
    """

    verb: str
    action: str = ""
    root: Path = Path("/")
    json: bool = False
    selectors: tuple[Selector, ...] = ()
    seconds: float = 10.0
    engine: str = "auto"
    save: Path | None = None
    profile: str = ""
    measurement: Path | None = None
    dry_run: bool = False
    confirm_within: float | None = None
    state_dir: Path = STATE_DIRECTORY
    shell: str = ""
    file: Path | None = None
    step: StepId | None = None
    slowest: int = 1
    x86: bool = False
    perfetto: Path | None = None
    svg: Path | None = None
    probe: str = ""
    interval: float | None = None
    max_bytes: int = DEFAULT_MAX_BYTES
    syscalls: bool = False
    kernel: str = ""
    headers: Path | None = None
    into: Path | None = None
    dkms_tree: Path | None = None
    settings: tuple[str, ...] = ()
    limit: float | None = None
    argv: tuple[str, ...] = ()
    evaluation: Mapping[str, Any] = field(default_factory=dict)


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting with argparse's 2, which here means 'mismatch'."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message, hint=f"See '{self.prog} --help'.")


def parse(argv: Sequence[str]) -> Args:
    """Raises InputError for anything the parser does not accept; --help and --version exit 0."""
    found = vars(make_parser().parse_args(argv))
    known = {each.name for each in fields(Args)}
    values = {name: value for name, value in found.items() if name in known}
    for name in ("selectors", "settings"):
        values[name] = tuple(values.get(name) or ())
    if values["verb"] == "evaluate":
        values["evaluation"] = found
    return Args(**values, argv=tuple(argv))


def make_parser() -> argparse.ArgumentParser:
    """The whole command line; also what completions and manual pages are made from."""
    parser = _Parser(
        prog="agenttune",
        description=(
            "Finds which interrupt work delays an AI agent, moves it off the agent's CPUs, "
            "proves by measuring that it moved, and puts every value back."
        ),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"agenttune {agenttune.__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (text, build) in _VERBS.items():
        verb = verbs.add_parser(
            name,
            help=text.split(". ")[0].rstrip("."),
            description=text,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        build(verb)
    return parser


def _show(verb: argparse.ArgumentParser) -> None:
    add_root(verb)
    add_agents(verb)
    verb.add_argument(
        "--x86",
        action="store_true",
        help="show only the way from vector to IRQ to CPU, and the x86 interrupt state; the "
        "registers' values need the kernel module and root",
    )
    add_json(verb, "host")


def _measure(verb: argparse.ArgumentParser) -> None:
    add_seconds(verb)
    add_agents(verb)
    add_engine(verb)
    verb.add_argument(
        "--save", type=Path, metavar="FILE", help="also write the measurement to FILE, as JSON"
    )
    add_json(verb, "measurement")


def _probe(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("probe", choices=tuple(ProbeName), help="what to time")
    add_agents(verb)
    add_seconds(verb)
    add_engine(verb)
    verb.add_argument(
        "--interval",
        type=checked(seconds),
        metavar="N",
        help="report every N seconds, each time from zero; with --json, one document per line",
    )
    verb.add_argument(
        "--max-bytes",
        type=checked(byte_count),
        default=DEFAULT_MAX_BYTES,
        metavar="N",
        help=f"block: time requests up to this size (default: {DEFAULT_MAX_BYTES})",
    )
    add_json(verb, "probe")


def _steps(verb: argparse.ArgumentParser) -> None:
    add_recording(verb)
    verb.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="write every step to FILE, for 'explain'; without it, the slowest are kept",
    )
    add_json(verb, "steps")


def _explain(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="a record from 'steps --save'; without it, steps are recorded now, as 'steps' does",
    )
    add_steps(verb, 1)
    verb.add_argument(
        "--profile",
        default="",
        metavar="PROFILE",
        help="say what this profile's plan does about it, on the host and boot of the record "
        f"(default: {DEFAULT_PROFILE})",
    )
    add_recording(verb)
    add_json(verb, "explanations")


def _export(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("file", type=Path, metavar="FILE", help="a record from 'steps --save'")
    kind = verb.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--perfetto",
        type=Path,
        metavar="OUT.json",
        help="the steps as Chrome trace JSON, for ui.perfetto.dev and chrome://tracing",
    )
    kind.add_argument(
        "--svg", type=Path, metavar="OUT.svg", help="a picture of one step (default: the slowest)"
    )
    add_steps(verb, VIEWED_STEPS)


def _profile(verb: argparse.ArgumentParser) -> None:
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="name every profile and what it is for")
    add_json(listing, "profiles")
    show = actions.add_parser("show", help="print one profile with its includes merged")
    check = actions.add_parser("check", help="say whether a profile is valid, and if not, where")
    for each in (show, check):
        add_profile(each)
    add_json(show, "profile")


def _plan(verb: argparse.ArgumentParser) -> None:
    add_profile(verb)
    verb.add_argument(
        "--measurement",
        type=Path,
        metavar="FILE",
        help="a file from 'measure --save': vectors are balanced by their measured time, "
        "and each change carries its share as evidence",
    )
    add_root(verb)
    add_json(verb, "plan")


def _apply(verb: argparse.ArgumentParser) -> None:
    add_profile(
        verb, metavar="PLAN|PROFILE", what="a plan from 'plan --json' (a .json file), or a profile"
    )
    add_dry_run(verb)
    add_confirm_within(verb)
    add_state_dir(verb)
    add_json(verb, "applied")


def _confirm(verb: argparse.ArgumentParser) -> None:
    add_state_dir(verb)


def _status(verb: argparse.ArgumentParser) -> None:
    add_state_dir(verb)
    add_json(verb, "status")


def _revert(verb: argparse.ArgumentParser) -> None:
    add_dry_run(verb)
    add_state_dir(verb)
    add_json(verb, "reverted")


def _tune(verb: argparse.ArgumentParser) -> None:
    add_profile(verb)
    add_seconds(verb)
    add_engine(verb)
    add_confirm_within(verb)
    add_state_dir(verb)
    add_json(verb, "tuned")


def _completion(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("shell", choices=("bash", "zsh"), help="the shell to complete for")


_VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "show": (
        "Show this machine: CPUs, vectors, queues, counters, writers. "
        "Reads only; what cannot be read is listed as unknown.",
        _show,
    ),
    "measure": (
        "Measure where interrupt work runs and whom it delays. "
        "Needs root, and BTF or bcc; Ctrl-C ends the window early and still reports it.",
        _measure,
    ),
    "probe": (
        "Time one stage of the path from interrupt to agent: irq, softirq, wakeup, syscall, "
        "block, fault or irq-to-run. Needs root, and BTF or bcc; wakeup, syscall, fault and "
        "irq-to-run need --agent. Ctrl-C ends it with its last report.",
        _probe,
    ),
    "steps": (
        "Record the steps that agents mark: where their time went, and what woke them. Threads "
        "that mark steps are watched without --agent. Needs root, and BTF or bcc; Ctrl-C "
        "ends the window early and still reports it.",
        _steps,
    ),
    "explain": (
        "Explain what delayed a step: where each nanosecond went, whom it waited for, and what a "
        "plan would do about it. A record explains the same on any machine; planned changes need "
        "the host and boot it was made in.",
        _explain,
    ),
    "export": ("Export recorded steps for a trace viewer, or draw one.", _export),
    "profile": ("List, show or check profiles.", _profile),
    "plan": (
        "Plan a profile's changes for this host, without making any. "
        "The result is a pure function of the host, the profile and the measurement.",
        _plan,
    ),
    "apply": (
        "Apply a plan through the journal. "
        "Each old value is durable before its knob is written; 'agenttune revert' restores it.",
        _apply,
    ),
    "confirm": ("Keep what 'apply --confirm-within' applied.", _confirm),
    "status": ("Show what is applied and what has drifted. Exits with 2 on drift.", _status),
    "revert": (
        "Put every value back, newest first. "
        "A value that someone else changed meanwhile is left alone, reported, and exits with 3.",
        _revert,
    ),
    "tune": (
        "Tune for a profile: measure, plan, apply, measure again, report. "
        "Exits with 2 when the second measurement does not show that the work moved.",
        _tune,
    ),
    "module": (
        "Build, load and look at the kernel module agent_latency. It attributes steps in the "
        "kernel, bounds softirqs on the agent's CPUs and lets interrupts follow an agent. "
        "Loading is a change like any other: 'agenttune revert' unloads it.",
        add_module,
    ),
    "evaluate": (
        "Evaluate a profile: is this host's agent faster with it, by how much, and which change "
        "did it. Sets every arm up and takes it back in every round, in random order, through the "
        "journal; writes report.html and results.json. Ctrl-C ends it with the host as it was; "
        "after a kill -9 'agenttune revert' restores it. Exits with 2 when it was stopped.",
        add_evaluate,
    ),
    "completion": ("Print a completion script for a shell.", _completion),
}
