# SPDX-License-Identifier: GPL-2.0-only
"""Options: those of the command line that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from agenttune.argument import checked, seconds, step_count
from agenttune.host.selector import Selector
from agenttune.measure.choice import StepId

STATE_DIRECTORY = Path("/var/lib/agenttune")


def add_recording(parser: argparse.ArgumentParser) -> None:
    """How a window of steps is recorded."""
    add_agents(parser)
    add_seconds(parser)
    add_engine(parser)
    parser.add_argument(
        "--syscalls",
        action="store_true",
        help="tell system calls from user code; this slows every system call of the host",
    )


def add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="read a recorded tree (with proc/ and sys/ in it) instead of this machine",
    )


def add_json(parser: argparse.ArgumentParser, kind: str) -> None:
    parser.add_argument(
        "--json", action="store_true", help=f"print JSON (docs/schema/{kind}.json) instead of text"
    )


def add_agents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--agent",
        dest="selectors",
        action="append",
        type=checked(Selector.parse),
        metavar="SELECTOR",
        help="who the agent is: comm:NAME, pid:N, cgroup:/PATH or unit:NAME.service; repeatable",
    )


def add_steps(parser: argparse.ArgumentParser, count: int) -> None:
    """Which steps: one, or the slowest."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--step",
        type=checked(StepId.parse),
        metavar="[TGID:]ID",
        help="this step; the slowest where its process used the id again",
    )
    which.add_argument(
        "--slowest",
        type=checked(step_count),
        default=count,
        metavar="N",
        help=f"the N steps that took longest (default: {count})",
    )


def add_seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds",
        type=checked(seconds),
        default=10.0,
        metavar="N",
        help="how long to measure (default: 10)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        choices=("auto", "libbpf", "bcc"),
        default="auto",
        help="what loads the BPF programs: libbpf (prebuilt, needs BTF), or bcc (compiled on this "
        "host, needs bcc and the kernel's headers); auto takes libbpf where there is BTF "
        "(default: auto)",
    )


def add_profile(
    parser: argparse.ArgumentParser,
    metavar: str = "PROFILE",
    what: str = "a profile's name, or the path of a .yaml file",
) -> None:
    parser.add_argument("profile", metavar=metavar, help=what)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be written; write nothing"
    )


def add_confirm_within(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--confirm-within",
        type=checked(seconds),
        metavar="SECONDS",
        help="revert by itself unless 'agenttune confirm' is run in time; "
        "the timer survives this process and its terminal",
    )


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=STATE_DIRECTORY,
        metavar="DIR",
        help=f"where the journal is (default: {STATE_DIRECTORY})",
    )
