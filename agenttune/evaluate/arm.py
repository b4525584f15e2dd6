# SPDX-License-Identifier: GPL-2.0-only
"""Arm: one way to set the host up, compared with leaving it alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agenttune.errors import InputError
from agenttune.evaluate.comparison import BASELINE
from agenttune.policy.module import bounds_softirqs
from agenttune.policy.profile import Placement, Profile


@dataclass(frozen=True, slots=True)
class Command:
    """What sets an external arm up and what takes it back, for /bin/sh.

    Both find a file of the arm's own in $AGENTTUNE_ARM_STATE, for what undoing needs to know.
    """

    apply: str
    undo: str


@dataclass(frozen=True, slots=True)
class Arm:
    """`profile` is planned and applied through the journal; so is `command`. Neither: baseline."""

    name: str
    what: str
    profile: Profile | None = None
    command: Command | None = None


_AFFINITY = ("placement", "default_affinity", "steer_rps", "steer_xps")
_NO_AFFINITY = "the profile places no interrupts"


def profile_arms(profile: Profile) -> dict[str, Arm | str]:
    """Every arm that can be made from a profile; for one that cannot, why."""
    placed = profile.placement is not None
    return {
        BASELINE: Arm(BASELINE, "the host as it is"),
        "tuned": Arm("tuned", f"the whole profile {profile.name}", profile),
        "affinity": _only(profile, "affinity", "interrupts and packet steering alone", _AFFINITY)
        if placed
        else _NO_AFFINITY,
        "pinning": _only(profile, "pinning", "the agent pinned, nothing else", ("pin_agent",))
        if profile.pin_agent
        else "the profile does not pin the agent",
        "budget": _only(profile, "budget", "the softirq limits alone", ("softirq",))
        if profile.softirq != type(profile.softirq)()
        else "the profile sets no softirq limit",
        "guardrail": _guardrail(profile)
        if bounds_softirqs(profile.module)
        else "the profile sets no bound of the kernel module's",
        **{
            str(each): _placed(profile, each)
            if placed and each is not profile.placement
            else _placement_reason(profile)
            for each in Placement
        },
    }


def choose(
    profile: Profile, wanted: Sequence[str], external: Sequence[Arm]
) -> tuple[tuple[Arm, ...], dict[str, str]]:
    """The arms to run, baseline first, and the reasons why others of those wanted cannot.

    No `wanted`: all of them. Raises InputError for a name that is no arm.
    """
    known: dict[str, Arm | str] = {**profile_arms(profile), **ready_made()}
    for arm in external:
        if arm.name in known:
            raise InputError(f"--arm {arm.name}: there is an arm of that name already")
        known[arm.name] = arm
    names = list(wanted) or [name for name in known if not _is_repeat(profile, name)]
    for name in names:
        if name not in known:
            raise InputError(
                f"--arms: no arm is called {name!r}", hint=f"Known: {', '.join(known)}."
            )
    names = [BASELINE, *(arm.name for arm in external), *names]
    chosen = [known[name] for name in dict.fromkeys(names)]
    arms = sorted(
        (each for each in chosen if isinstance(each, Arm)), key=lambda a: list(known).index(a.name)
    )
    return tuple(arms), {name: known[name] for name in names if isinstance(known[name], str)}  # type: ignore[misc]


def _is_repeat(profile: Profile, name: str) -> bool:
    return name in list(Placement) and (name == profile.placement or profile.placement is None)


def _bare(profile: Profile, name: str) -> Profile:
    """Who the agent is and which CPUs are whose, with nothing to do."""
    return Profile(
        name=f"{profile.name} ({name})",
        description=profile.description,
        selectors=profile.selectors,
        agent_cpus=profile.agent_cpus,
        agent_cpuset=profile.agent_cpuset,
        housekeeping_cpus=profile.housekeeping_cpus,
    )


def _only(profile: Profile, name: str, what: str, fields: Sequence[str]) -> Arm:
    kept = {field: getattr(profile, field) for field in fields}
    return Arm(name, what, replace(_bare(profile, name), **kept))


def _guardrail(profile: Profile) -> Arm:
    """The module's bounds; what it may place is left alone."""
    bounds = replace(
        profile.module, placement=None, placement_window_ms=None, placement_quiet_pct=None
    )
    arm = _only(profile, "guardrail", "the kernel module's softirq bounds alone", ())
    assert arm.profile is not None
    return replace(arm, profile=replace(arm.profile, module=bounds))


def _placed(profile: Profile, placement: Placement) -> Arm:
    what = f"interrupts and packet steering alone, placed '{placement}'"
    arm = _only(profile, str(placement), what, _AFFINITY)
    assert arm.profile is not None
    return replace(arm, profile=replace(arm.profile, placement=placement))


def _placement_reason(profile: Profile) -> str:
    return _NO_AFFINITY if profile.placement is None else "it is what 'affinity' does"


# The state is there as a whole before anything is changed, or nothing is to be undone.
_KEEP = '> "$AGENTTUNE_ARM_STATE.new" && mv "$AGENTTUNE_ARM_STATE.new" "$AGENTTUNE_ARM_STATE"'
_UNLESS_KEPT = '[ -e "$AGENTTUNE_ARM_STATE" ] || exit 0'
# The affinity of every interrupt: irqbalance --oneshot has no way back itself.
_EVERY_AFFINITY = 'for f in /proc/irq/*/smp_affinity; do read -r m < "$f"; echo "$f $m"; done'
_RESTORE_AFFINITY = (
    'while read -r f m; do n=; read -r n < "$f"; [ "$n" = "$m" ] || echo "$m" > "$f" || true; done '
    '2> /dev/null < "$AGENTTUNE_ARM_STATE"'
)
# irqbalance looks at the load for so long before it moves anything; its default is 10 s.
_LOOK_S = 2


def _tuned_adm(program: str) -> Arm:
    return Arm(
        "tuned-adm",
        "tuned's own profile network-latency",
        command=Command(
            f'"{program}" active | sed -n "s/^Current active profile: //p" {_KEEP} && '
            f'"{program}" profile network-latency',
            f'{_UNLESS_KEPT}; p=$(cat "$AGENTTUNE_ARM_STATE"); '
            f'if [ "$p" ]; then "{program}" profile "$p"; else "{program}" off; fi',
        ),
    )


def _irqbalance(program: str) -> Arm:
    return Arm(
        "irqbalance",
        "one run of irqbalance with the agent's CPUs banned",
        command=Command(
            f"{_EVERY_AFFINITY} {_KEEP} && IRQBALANCE_BANNED_CPULIST=$AGENTTUNE_AGENT_CPUS "
            f'"{program}" --oneshot --foreground --interval={_LOOK_S} > /dev/null',
            f"{_UNLESS_KEPT}; {_RESTORE_AFFINITY}",
        ),
    )


_READY_MADE: dict[str, tuple[str, Callable[[str], Arm]]] = {
    "tuned-adm": ("tuned-adm", _tuned_adm),
    "irqbalance": ("irqbalance", _irqbalance),
}


def ready_made() -> dict[str, Arm | str]:
    """What people use today, where it is installed."""
    found: dict[str, Arm | str] = {}
    for name, (program, make) in _READY_MADE.items():
        path = shutil.which(program)
        found[name] = make(path) if path else f"{program} is not installed"
    return found
