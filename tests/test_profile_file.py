# SPDX-License-Identifier: GPL-2.0-only
"""Profiles: what is read, what is refused, where the error points."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from policy_hosts import mask

from agenttune.errors import InputError
from agenttune.host.selector import Selector
from agenttune.policy.profile import ModuleWish, Placement, Profile, SoftirqBudget
from agenttune.policy.profile_file import list_profiles, profile_search, read_profile
from agenttune.policy.profile_schema import SECTIONS

SHIPPED = Path(__file__).parent.parent / "profiles"


def read(tmp_path: Path, text: str | bytes) -> Profile:
    path = tmp_path / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_profile(str(path), [])


def error(tmp_path: Path, text: str | bytes) -> str:
    """The message without the folder."""
    with pytest.raises(InputError) as refused:
        read(tmp_path, text)
    return refused.value.message.replace(f"{tmp_path}/", "")


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """\
description: "all of\\nthem"
agent:
  selectors: [comm:agent, pid:42, cgroup:/a.slice/b, 'unit:a.service']
  cpus: 2-3,6
  pin: true
housekeeping:
  cpus: 0-1
interrupts:
  placement: near
  default-affinity: true
steering: {rps: true, xps: true}
softirq:
  netdev-budget: 128
  netdev-budget-usecs: 2000
  dev-weight: 32
module:
  load: true
  required: true
  placement: away
  placement-window-ms: 200
  placement-quiet-pct: 5
  napi-budget: 16
  softirq-budget-us: 200
"""
    assert read(tmp_path, text) == Profile(
        name="p",
        description="all of them",
        selectors=tuple(
            map(Selector.parse, ("comm:agent", "pid:42", "cgroup:/a.slice/b", "unit:a.service"))
        ),
        agent_cpus=mask("2-3,6"),
        housekeeping_cpus=mask("0-1"),
        placement=Placement.NEAR,
        pin_agent=True,
        steer_rps=True,
        steer_xps=True,
        default_affinity=True,
        softirq=SoftirqBudget(128, 2000, 32),
        module=ModuleWish(True, True, "away", 200, 5, 16, 200),
    )


def test_a_profile_of_one_line_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "description: none\n") == Profile("p", "none")


@pytest.mark.parametrize("placement", [*Placement, "leave"])
def test_each_placement(tmp_path: Path, placement: str) -> None:
    wish = read(tmp_path, f"interrupts: {{placement: {placement}}}").placement
    assert wish == (None if placement == "leave" else placement)


def test_a_cpuset_names_the_agents_cpus(tmp_path: Path) -> None:
    wish = read(tmp_path, "agent: {cpus: 'cpuset:/agents.slice'}")
    assert (wish.agent_cpus, wish.agent_cpuset) == (None, "/agents.slice")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agnet:\n  pin: true\n", "p.yaml:1:1: unknown key 'agnet'; did you mean 'agent'?"),
        (
            "agent:\n  cpu: 3\n",
            "p.yaml:2:3: unknown key 'cpu' in 'agent'; did you mean 'cpus'?",
        ),
        (
            "zzzz: 1",
            "p.yaml:1:1: unknown key 'zzzz'; the keys are description, include, agent, "
            "housekeeping, interrupts, steering, softirq, module",
        ),
        (
            "agent:\n  pin: yes\n",
            "p.yaml:2:8: 'yes' is neither true nor false; write true or false",
        ),
        (
            'agent:\n  pin: "true"\n',
            "p.yaml:2:8: 'true' is quoted text; write true or false, without quotes",
        ),
        ("agent:\n  pin:\n", "p.yaml:2:3: the value is missing; write true or false"),
        (
            "agent:\n  pin: [true]\n",
            "p.yaml:2:8: a list is given where one value belongs; write true or false",
        ),
        (
            "agent: true",
            "p.yaml:1:8: 'agent' must hold keys; put selectors, cpus, pin below it, indented",
        ),
        (
            "agent:\n  cpus: 3-1\n",
            "p.yaml:2:9: '3-1' is not a CPU list (CPU range '3-1' runs backwards); "
            "write auto, a list such as 2-3,6, or cpuset:/path of a cgroup",
        ),
        (
            "agent:\n  cpus: 8192\n",
            "p.yaml:2:9: '8192' is not a CPU list (CPU 8192 is not in 0-8191); "
            "write auto, a list such as 2-3,6, or cpuset:/path of a cgroup",
        ),
        (
            "agent:\n  cpus: ','\n",
            "p.yaml:2:9: ',' names no CPU; "
            "write auto, a list such as 2-3,6, or cpuset:/path of a cgroup",
        ),
        (
            "agent:\n  cpus: cpuset:/../x\n",
            "p.yaml:2:9: 'cpuset:/../x' is not an absolute cgroup path; "
            "write auto, a list such as 2-3,6, or cpuset:/path of a cgroup",
        ),
        (
            "housekeeping:\n  cpus: none\n",
            "p.yaml:2:9: 'none' is not a CPU list ('none' is not a CPU number or range); "
            "write auto or a list such as 0-1,4",
        ),
        (
            "agent:\n  cpus: 1-2\nhousekeeping:\n  cpus: 0-1\n",
            "p.yaml:4:9: CPUs 1 are both agent and housekeeping CPUs; "
            "give each CPU to one of agent.cpus and housekeeping.cpus",
        ),
        (
            "agent:\n  selectors: comm:agent\n",
            "p.yaml:2:14: selectors is not a list; write a list such as [comm:agent]",
        ),
        (
            "agent:\n  selectors: [name:agent]\n",
            "p.yaml:2:15: agent selector 'name:agent' must start with one of comm:, pid:, "
            "cgroup:, unit:; write comm:NAME, pid:NUMBER, cgroup:/PATH or unit:NAME.service",
        ),
        (
            "interrupts:\n  placement: far\n",
            "p.yaml:2:14: 'far' is no placement; write away, near, same or leave",
        ),
        (
            "softirq:\n  netdev-budget: 0\n",
            "p.yaml:2:18: '0' is out of range; "
            "write a whole number of packets in 1..100000, or leave",
        ),
        (
            "softirq:\n  netdev-budget-usecs: 1999\n",
            "p.yaml:2:24: '1999' is out of range; "
            "write a whole number of microseconds in 2000..1000000, or leave",
        ),
        (
            "softirq:\n  dev-weight: -64\n",
            "p.yaml:2:15: '-64' is out of range; "
            "write a whole number of packets in 1..100000, or leave",
        ),
        (
            "softirq:\n  dev-weight: 0x40\n",
            "p.yaml:2:15: '0x40' is not a whole number; "
            "write a whole number of packets in 1..100000, or leave",
        ),
        (
            "softirq:\n  dev-weight: .nan\n",
            "p.yaml:2:15: '.nan' is not a whole number; "
            "write a whole number of packets in 1..100000, or leave",
        ),
        (
            "description: " + "x" * 401,
            "p.yaml:1:14: the description has 401 characters; "
            "write one sentence of at most 400 characters",
        ),
        ("", "p.yaml:1:1: the file is empty; write at least a description"),
        ("# nothing\n", "p.yaml:1:1: the file is empty; write at least a description"),
        ("- a\n", "p.yaml:1:1: a profile is a mapping; write 'key: value' lines"),
    ],
)
def test_mistakes_are_shown_where_they_are(tmp_path: Path, text: str, expected: str) -> None:
    assert error(tmp_path, text) == expected


def shelf(tmp_path: Path, **texts: str) -> list[Path]:
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return [tmp_path]


def test_include_puts_a_profile_below(tmp_path: Path) -> None:
    search = shelf(
        tmp_path,
        base="description: b\nagent: {cpus: 1, pin: true}\nsoftirq: {dev-weight: 32}\n",
        top="agent: {cpus: 'cpuset:/x'}\nsoftirq: {dev-weight: leave}\ninclude: base\n",
    )
    assert read_profile("top", search) == Profile("top", "", agent_cpuset="/x", pin_agent=True)


def test_an_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    search = shelf(tmp_path, base="agent:\n  pin: 1\n", top="include: base\n")
    with pytest.raises(InputError, match=r"/base\.yaml:2:8: '1' is neither"):
        read_profile("top", search)


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ("../x", "'../x' is not a profile name"),
        ("/etc/passwd", "'/etc/passwd' is not a profile name"),
        ("x.yaml", "'x.yaml' is not a profile name"),
        ("bsae", "no profile 'bsae' in "),
        ("top", "the include goes in a circle: top -> top; remove one include"),
        ("[a, b]", "a list is given where one value belongs"),
    ],
)
def test_bad_includes_are_refused_at_their_place(
    tmp_path: Path, include: str, expected: str
) -> None:
    search = shelf(tmp_path, base="description: b\n", top=f"description: t\ninclude: {include}\n")
    with pytest.raises(InputError) as refused:
        read_profile("top", search)
    assert refused.value.message.startswith(f"{tmp_path}/top.yaml:2:10: {expected}")
    if include == "bsae":
        assert refused.value.message.endswith("; the closest is base")


def test_a_circle_and_a_tower_of_includes_end(tmp_path: Path) -> None:
    shelf(tmp_path, a="include: b\n", b="include: c\n", c="include: a\n")
    with pytest.raises(InputError, match=r"c\.yaml:1:10: .* circle: a -> b -> c -> a"):
        read_profile("a", [tmp_path])
    for level in range(20):
        shelf(tmp_path, **{f"t{level}": f"include: t{level + 1}\n"})
    with pytest.raises(InputError, match=r"t7\.yaml:1:10: more than 8 files deep"):
        read_profile("t0", [tmp_path])


def test_the_first_folder_wins_and_a_file_sees_its_own_first(tmp_path: Path) -> None:
    for folder in ("admin", "shipped", "own"):
        (tmp_path / folder).mkdir()
        shelf(tmp_path / folder, base=f"description: x\nhousekeeping: {{cpus: {len(folder)}}}\n")
    shelf(tmp_path / "shipped", top="include: base\n")
    shelf(tmp_path / "own", mine="include: base\n")
    search = [tmp_path / "admin", tmp_path / "shipped", tmp_path / "missing"]
    assert read_profile("top", search).housekeeping_cpus == mask("5")
    path = str(tmp_path / "own" / "mine.yaml")
    assert read_profile(path, search).housekeeping_cpus == mask("3")
    found = [(entry.name, entry.path.parent.name) for entry in list_profiles(search)]
    assert found == [("base", "admin"), ("top", "shipped")]


@pytest.mark.parametrize("name", ["../x\0.yaml", "Agent", "a b", "", "x" * 65])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"not a profile name|has a NUL"):
        read_profile(name, [tmp_path])


def test_a_missing_name_is_compared_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no profile agent-latncy") as refused:
        read_profile("agent-latncy", [SHIPPED])
    assert refused.value.hint == "The closest is agent-latency."


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    for path in (tmp_path / "fifo.yaml", Path("/dev/zero")):
        with pytest.raises(InputError, match="is not a regular file"):
            read_profile(f"{path}", [])
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_profile(f"{tmp_path}", [])
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_profile(f"{tmp_path}/none.yaml", [])


def test_shipped_profiles_are_found_and_say_what_they_do() -> None:
    assert SHIPPED in profile_search()
    names = [entry.name for entry in list_profiles([SHIPPED])]
    assert names == [
        "agent-latency", "agent-latency-module", "agent-latency-strict", "observe-only"
    ]  # fmt: skip
    latency, module, strict, observe = (read_profile(name, [SHIPPED]) for name in names)
    assert latency.placement is Placement.AWAY
    assert not latency.pin_agent
    assert latency.softirq == SoftirqBudget()
    assert (strict.placement, strict.default_affinity) == (Placement.AWAY, True)
    assert strict.pin_agent
    assert strict.softirq == SoftirqBudget(netdev_budget=128, dev_weight=32)
    assert module.placement is None
    assert module.module == ModuleWish(
        load=True, placement="off", napi_budget=16, softirq_budget_us=200
    )
    assert observe == Profile("observe-only", observe.description, observe.selectors)


def test_every_key_is_documented_and_every_shipped_value_commented() -> None:
    keys = [f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys]
    readme = (SHIPPED / "README.md").read_text()
    for key in (*keys, "description", "include"):
        assert readme.count(f"| `{key}` |") == 1
    for entry in list_profiles([SHIPPED]):
        for block in entry.path.read_text().split("\n\n"):
            lines = [line.strip() for line in block.splitlines()]
            values = [line for line in lines if line and not line.startswith("#")]
            settings = [v for v in values if v.split(":")[0] not in (*SECTIONS, "description")]
            assert not settings or settings[0].startswith("include") or "#" in block, block
