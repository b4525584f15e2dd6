# SPDX-License-Identifier: GPL-2.0-only
"""The options of 'agenttune module'."""

from __future__ import annotations

import argparse
from pathlib import Path

from agenttune.argument import checked, seconds
from agenttune.host.module import BUILDS
from agenttune.host.selector import Selector
from agenttune.options import add_dry_run, add_json, add_state_dir
from agenttune.policy.module import DEFAULTS


def add_module(verb: argparse.ArgumentParser) -> None:
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    _build(actions.add_parser("build", help="compile the shipped sources for a kernel"))
    _load(actions.add_parser("load", help="load it, as a change that can be reverted"))
    _unload(actions.add_parser("unload", help="revert its settings and its load, nothing else"))
    _status(actions.add_parser("status", help="whether it is loaded, by whom, and how it is set"))
    _attach(actions.add_parser("attach", help="follow a running agent that does not attach itself"))


def _build(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--kernel", default="", metavar="RELEASE", help="for this kernel (default: the running one)"
    )
    action.add_argument(
        "--headers",
        type=Path,
        metavar="DIR",
        help="the kernel's build folder (default: /lib/modules/RELEASE/build)",
    )
    action.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help=f"put RELEASE/agent_latency.ko below DIR instead of {BUILDS}, where 'load' looks",
    )
    action.add_argument(
        "--dkms-tree",
        type=Path,
        metavar="DIR",
        help="build nothing; write a source tree for DKMS to DIR, which is new or empty",
    )
    add_json(action, "built")


def _load(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "settings",
        nargs="*",
        metavar="NAME=VALUE",
        help=f"settings to make afterwards: {', '.join(DEFAULTS)}",
    )
    add_dry_run(action)
    add_state_dir(action)
    add_json(action, "applied")


def _unload(action: argparse.ArgumentParser) -> None:
    add_dry_run(action)
    add_state_dir(action)
    add_json(action, "reverted")


def _status(action: argparse.ArgumentParser) -> None:
    add_state_dir(action)
    add_json(action, "module")


def _attach(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "selectors",
        nargs="+",
        type=checked(Selector.parse),
        metavar="SELECTOR",
        help="who the agent is: comm:NAME, pid:N, cgroup:/PATH or unit:NAME.service",
    )
    action.add_argument(
        "--seconds",
        dest="limit",
        type=checked(seconds),
        metavar="N",
        help="end after N seconds (default: on Ctrl-C)",
    )
