# SPDX-License-Identifier: GPL-2.0-only
"""The options of 'agenttune evaluate', and the request that they make."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agenttune.argument import checked, seconds, step_count
from agenttune.errors import InputError
from agenttune.evaluate.arm import Arm, Command
from agenttune.evaluate.noise import Noise
from agenttune.evaluate.request import Request
from agenttune.evaluate.workload import DEFAULT_MIX, MIXES, Sizes, Workload
from agenttune.host.cpumask import CpuMask
from agenttune.host.selector import Selector
from agenttune.options import add_engine, add_json, add_profile, add_state_dir
from agenttune.policy.profile import Profile

_ARM_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
_MIN_STEPS_A_SECOND, _MAX_STEPS_A_SECOND = 0.1, 100_000
_MIN_BYTES, _MAX_BYTES = 64, 1 << 20


def add_evaluate(verb: argparse.ArgumentParser) -> None:
    add_profile(verb)
    _add_method(verb)
    _add_agent(verb)
    add_engine(verb)
    add_state_dir(verb)
    add_json(verb, "evaluation")


def _add_method(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--arms",
        type=checked(_names),
        default=(),
        metavar="LIST",
        help="only these arms, by comma: tuned, affinity, pinning, budget, guardrail, away, near, "
        "same, tuned-adm, irqbalance; the baseline is always there (default: all that apply)",
    )
    for option, what in (
        ("arm", "NAME of an arm of your own; repeat all three for more"),
        ("apply", "CMD for /bin/sh that sets this arm up"),
        ("undo", "CMD that takes it back; both see $AGENTTUNE_ARM_STATE, a file of the arm's own"),
    ):
        metavar = what.split()[0]
        verb.add_argument(
            f"--{option}", dest=f"{option}_of", action="append", metavar=metavar, help=what
        )
    verb.add_argument(
        "--blocks",
        dest="rounds",
        type=checked(step_count),
        default=12,
        metavar="N",
        help="blocks of each arm, so many rounds; intervals need 6 (default: 12)",
    )
    verb.add_argument(
        "--seconds",
        type=checked(seconds),
        default=10.0,
        metavar="N",
        help="how long a block lasts; p99 needs 1000 steps in it (default: 10)",
    )
    verb.add_argument(
        "--settle",
        dest="settle_s",
        type=checked(seconds),
        default=1.0,
        metavar="N",
        help="seconds before each block that are discarded (default: 1)",
    )
    verb.add_argument(
        "--guard",
        type=checked(_factor),
        metavar="Nx",
        help="stop and revert when an arm makes the agent's p99 worse than N times the baseline's",
    )
    verb.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is random")
    verb.add_argument(
        "--out",
        type=Path,
        default=Path("agenttune-evaluation"),
        metavar="DIR",
        help="where report.html and results.json go (default: ./agenttune-evaluation)",
    )


def _add_agent(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--attach",
        action="append",
        type=checked(Selector.parse),
        metavar="SELECTOR",
        help="evaluate this live agent, which marks its steps, instead of the built-in one",
    )
    verb.add_argument(
        "--mix",
        choices=tuple(MIXES),
        default=DEFAULT_MIX,
        help="what the built-in agent does in a step: tools (TCP call, parsing), uring (the same "
        "through io_uring), lookup (TCP call, sometimes a small direct read, parsing), retrieval "
        "(small reads, a cold mapped index, parsing), or mixed, with subprocesses now and then "
        f"(default: {DEFAULT_MIX})",
    )
    verb.add_argument(
        "--rate",
        type=checked(_rate),
        default=500.0,
        metavar="N|max",
        help="steps that the built-in agent begins in a second; max: no pause (default: 500)",
    )
    for option, default, what in (
        ("rpc-bytes", Workload().rpc_bytes, "sizes of requests and answers"),
        ("read-bytes", Workload().read_bytes, "sizes of reads"),
    ):
        verb.add_argument(
            f"--{option}",
            type=checked(_sizes),
            default=default,
            metavar="LOW-HIGH",
            help=f"{what} (default: {default})",
        )
    verb.add_argument(
        "--data",
        default="",
        metavar="PATH",
        help="file or block device to read, never written (default: a file of its own in --out)",
    )
    verb.add_argument(
        "--tool",
        type=checked(_address),
        default=None,
        metavar="HOST:PORT",
        help="a tool server that runs already: 'python3 -m agenttune.evaluate.toolserver --alone' "
        "(default: one of its own on loopback)",
    )
    verb.add_argument(
        "--agent-cpus",
        type=checked(_cpus),
        default=None,
        metavar="LIST",
        help="where the built-in agent may run before any arm (default: everywhere)",
    )
    verb.add_argument(
        "--noise",
        type=checked(_noise),
        default=(),
        metavar="LIST",
        help="what else runs in every block, by comma: network, disk, timers, cpu (default: none)",
    )


def request_of(found: Mapping[str, Any], profile: Profile, argv: Sequence[str]) -> Request:
    """Raises InputError for options that do not go together."""
    attach = tuple(found["attach"] or ())
    return Request(
        profile=profile,
        command=shlex.join(("agenttune", *argv)),
        external=_external(found["arm_of"], found["apply_of"], found["undo_of"]),
        workload=Workload(
            mix=found["mix"],
            rate=found["rate"],
            seed=found["seed"],
            rpc_bytes=found["rpc_bytes"],
            read_bytes=found["read_bytes"],
            data=found["data"],
            tool=found["tool"] or "",
            cpus=found["agent_cpus"] or "",
        ),
        attach=attach,
        **{
            name: found[name]
            for name in (
                *("arms", "rounds", "seconds", "settle_s", "guard", "seed"),
                *("noise", "engine", "out"),
            )
        },
    )


def _external(
    names: Sequence[str] | None, applies: Sequence[str] | None, undoes: Sequence[str] | None
) -> tuple[Arm, ...]:
    names, applies, undoes = names or (), applies or (), undoes or ()
    if not len(names) == len(applies) == len(undoes):
        raise InputError(
            f"{len(names)} --arm, {len(applies)} --apply and {len(undoes)} --undo",
            hint="Each arm of your own needs all three: --arm NAME --apply CMD --undo CMD.",
        )
    for name in names:
        if not _ARM_NAME.fullmatch(name):
            raise InputError(f"--arm {name[:40]!r}: a name has a-z, 0-9, '-' and '.', at most 32")
    if len(set(names)) < len(names):
        raise InputError("--arm: two arms have the same name")
    return tuple(
        Arm(name, "an arm of your own", command=Command(apply, undo))
        for name, apply, undo in zip(names, applies, undoes, strict=True)
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _noise(text: str) -> tuple[Noise, ...]:
    names = _names(text)
    for name in names:
        if name not in list(Noise):
            raise InputError(f"{name[:40]!r} is no noise", hint=f"There are {', '.join(Noise)}.")
    return tuple(dict.fromkeys(Noise(name) for name in names))


def _factor(text: str) -> float:
    found = _number(text.removesuffix("x"))
    if not 1 < found <= 1000:
        raise InputError(f"{text[:40]!r} is not a factor above 1, such as 2x")
    return found


def _rate(text: str) -> float | None:
    if text == "max":
        return None
    found = _number(text)
    if not _MIN_STEPS_A_SECOND <= found <= _MAX_STEPS_A_SECOND:
        raise InputError(f"{text[:40]!r} is neither max nor steps a second, up to 100000")
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _sizes(text: str) -> Sizes:
    low, dash, high = text.partition("-")
    if not dash or not (low + high).isascii() or not low.isdigit() or not high.isdigit():
        raise InputError(f"{text[:40]!r} is not LOW-HIGH in bytes, such as 1024-16384")
    found = Sizes(int(low[:12]), int(high[:12]))
    if not _MIN_BYTES <= found.low <= found.high <= _MAX_BYTES:
        raise InputError(f"{text[:40]!r}: sizes are from {_MIN_BYTES} to {_MAX_BYTES} bytes")
    return found


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
        raise InputError(f"{text[:60]!r} is not HOST:PORT")
    return text


def _cpus(text: str) -> str:
    try:
        found = CpuMask.parse_list(text)
    except ValueError as error:
        raise InputError(f"{text[:40]!r} is not a CPU list: {error}") from error
    if not found:
        raise InputError("an empty CPU list has no room for the agent")
    return str(found)
