# SPDX-License-Identifier: GPL-2.0-only
"""Which arms a profile gives, what each of them keeps, and what the command line accepts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agenttune import cli
from agenttune.errors import InputError
from agenttune.evaluate import arm as arms
from agenttune.evaluate.arm import Arm, Command, choose, profile_arms
from agenttune.evaluate.request import Request
from agenttune.evaluate.workload import Sizes
from agenttune.evaluate_options import request_of
from agenttune.host.selector import Selector
from agenttune.policy.profile import ModuleWish, Placement, Profile, SoftirqBudget
from agenttune.policy.profile_file import read_profile

FULL = Profile(
    "full",
    "everything",
    selectors=(Selector.parse("comm:agent"),),
    placement=Placement.AWAY,
    pin_agent=True,
    steer_rps=True,
    default_affinity=True,
    softirq=SoftirqBudget(netdev_budget=128),
    module=ModuleWish(load=True, napi_budget=16, placement="away"),
)
TREE = Path(__file__).parent.parent


def made(name: str) -> Profile:
    arm = profile_arms(FULL)[name]
    assert isinstance(arm, Arm) and arm.profile is not None
    return arm.profile


def test_each_ablation_keeps_its_group_alone() -> None:
    bare = replace(
        FULL, placement=None, pin_agent=False, steer_rps=False, default_affinity=False,
        softirq=SoftirqBudget(), module=ModuleWish(),
    )  # fmt: skip

    def same(name: str, **kept: object) -> None:
        assert made(name) == replace(bare, name=f"full ({name})", **kept)

    away = {"placement": Placement.AWAY, "steer_rps": True, "default_affinity": True}
    same("affinity", **away)
    same("pinning", pin_agent=True)
    same("budget", softirq=FULL.softirq)
    same("guardrail", module=ModuleWish(load=True, napi_budget=16))
    same("near", **{**away, "placement": Placement.NEAR})
    same("same", **{**away, "placement": Placement.SAME})
    assert made("tuned") == FULL


def test_a_group_that_the_profile_leaves_alone_has_a_reason_instead_of_an_arm() -> None:
    found = profile_arms(Profile("bare", ""))
    reasons = {name: why for name, why in found.items() if isinstance(why, str)}
    assert set(reasons) == {"affinity", "pinning", "budget", "guardrail", "away", "near", "same"}
    assert "does not pin" in reasons["pinning"]
    assert profile_arms(FULL)["away"] == "it is what 'affinity' does"


def test_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "ready_made", lambda: {"tuned-adm": "tuned-adm is not installed"})
    chosen, reasons = choose(FULL, (), ())
    names = [arm.name for arm in chosen]
    assert names == [
        *("baseline", "tuned", "affinity", "pinning", "budget", "guardrail", "near", "same")
    ]
    assert reasons == {"tuned-adm": "tuned-adm is not installed"}
    own = Arm("mine", "", command=Command("true", "true"))
    chosen, reasons = choose(FULL, ("pinning", "tuned-adm"), (own,))
    assert [arm.name for arm in chosen] == ["baseline", "pinning", "mine"]
    assert list(reasons) == ["tuned-adm"]
    with pytest.raises(InputError, match="no arm is called 'tunde'"):
        choose(FULL, ("tunde",), ())
    with pytest.raises(InputError, match="an arm of that name already"):
        choose(FULL, (), (replace(own, name="tuned"),))


def request(*words: str) -> Request:
    args = cli.parse(("evaluate", "agent-latency", *words))
    return request_of(
        args.evaluation, read_profile("agent-latency", [TREE / "profiles"]), args.argv
    )


def test_options_become_a_request() -> None:
    found = request(
        *("--arms", "tuned,affinity", "--blocks", "20", "--seconds", "3", "--guard", "2x"),
        *("--mix", "tools", "--rate", "max", "--rpc-bytes", "1024-2048", "--noise", "cpu,network"),
        *("--arm", "mine", "--apply", "do it", "--undo", "undo it", "--agent-cpus", "0"),
    )
    assert (found.rounds, found.seconds, found.guard) == (20, 3.0, 2.0)
    assert found.arms == ("tuned", "affinity") and found.noise == ("cpu", "network")
    assert found.workload.rate is None and found.workload.rpc_bytes == Sizes(1024, 2048)
    assert found.workload.cpus == "0"
    assert found.external == (
        Arm("mine", "an arm of your own", command=Command("do it", "undo it")),
    )
    assert found.command.startswith("agenttune evaluate agent-latency --arms tuned,affinity")
    assert "--apply 'do it'" in found.command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--guard", "1x"), "not a factor above 1"),
        (("--guard", "nan"), "not a factor above 1"),
        (("--rate", "0"), "neither max nor"),
        (("--rpc-bytes", "16"), "not LOW-HIGH"),
        (("--rpc-bytes", "4096-1024"), "sizes are from"),
        (("--noise", "loud"), "is no noise"),
        (("--tool", "nowhere"), "not HOST:PORT"),
        (("--agent-cpus", "x"), "not a CPU list"),
        (("--mix", "odd"), "invalid choice"),
        (("--attach", "agent"), "must start with one of"),
        (("--arm", "mine", "--apply", "x"), "1 --arm, 1 --apply and 0 --undo"),
        (("--arm", "../x", "--apply", "x", "--undo", "y"), "a name has"),
        (("--arm", "m", "--apply", "x", "--undo", "y") * 2, "two arms have the same name"),
    ],
)
def test_options_that_are_wrong(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        request(*words)
