# SPDX-License-Identifier: GPL-2.0-only
"""Other writers: found where they are, silent where they are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pyudev

from agenttune.host import linkfiles
from agenttune.host.host import Writer
from agenttune.host.linkfiles import read_link_writers
from agenttune.host.tree import Tree
from agenttune.host.writers import read_writers
from agenttune.policy.plan import KnobKind


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_bare_host_has_none(tmp_path: Path) -> None:
    assert read_writers(Tree(tmp_path), {}) == ()
    assert read_writers(Tree(tmp_path), {1: "init"}) == ()


def test_a_running_irqbalance_with_bans_and_socket(tmp_path: Path) -> None:
    put(
        tmp_path / "etc/default/irqbalance",
        '# IRQBALANCE_BANNED_CPUS=ff\nIRQBALANCE_BANNED_CPULIST="2-3"\n\nOPTIONS=--journal\n',
    )
    put(tmp_path / "run/irqbalance/irqbalance812.sock")
    put(tmp_path / "usr/sbin/irqbalance")
    (found,) = read_writers(Tree(tmp_path), {1: "init", 812: "irqbalance"})
    assert found == Writer(
        name="irqbalance",
        active=True,
        detail=(
            'pid 812; IRQBALANCE_BANNED_CPULIST="2-3" (/etc/default/irqbalance); '
            "OPTIONS=--journal (/etc/default/irqbalance); "
            "socket /run/irqbalance/irqbalance812.sock"
        ),
        writes=("vector-affinity",),
    )


def test_an_idle_irqbalance_is_told_from_an_unknown_one(tmp_path: Path) -> None:
    put(tmp_path / "usr/sbin/irqbalance")
    (idle,) = read_writers(Tree(tmp_path), {1: "init"})
    assert idle.active is False
    (unknown,) = read_writers(Tree(tmp_path), {})
    assert unknown.active is None


def test_tuned_with_its_profile(tmp_path: Path) -> None:
    put(tmp_path / "usr/sbin/tuned")
    put(tmp_path / "etc/tuned/active_profile", "network-latency\n")
    (found,) = read_writers(Tree(tmp_path), {9: "tuned"})
    assert (found.name, found.active) == ("tuned", True)
    assert found.detail == "pid 9; profile network-latency (/etc/tuned/active_profile)"


def test_a_process_without_files_is_enough(tmp_path: Path) -> None:
    names = [w.name for w in read_writers(Tree(tmp_path), {3: "tuned", 4: "irqbalance"})]
    assert names == ["irqbalance", "tuned"]


def test_what_writers_write_are_kinds_of_knobs(tmp_path: Path) -> None:
    put(tmp_path / "etc/systemd/network/10-a.link", "[Link]\nIRQAffinityPolicy=spread\n")
    writers = read_writers(Tree(tmp_path), {3: "tuned", 4: "irqbalance"})
    assert len(writers) == 3
    assert {kind for writer in writers for kind in writer.writes} <= set(KnobKind)


def test_link_files_with_affinity_settings(tmp_path: Path) -> None:
    put(tmp_path / "usr/lib/systemd/network/99-default.link", "[Link]\nNamePolicy=keep\n")
    put(tmp_path / "usr/lib/systemd/network/50-a.link", "[Link]\nIRQAffinity=0-3\n")
    put(tmp_path / "etc/systemd/network/10-b.link", "[Link]\n# IRQAffinity=1\n")
    put(tmp_path / "etc/systemd/network/10-b.link.d/x.conf", "[Link]\nIRQAffinityPolicy = single\n")
    found = read_link_writers(Tree(tmp_path))
    assert [(w.name, w.active, w.detail) for w in found] == [
        (
            "systemd .link",
            None,
            "/etc/systemd/network/10-b.link; IRQAffinityPolicy = single",
        ),
        ("systemd .link", None, "/usr/lib/systemd/network/50-a.link; IRQAffinity=0-3"),
    ]


def test_a_link_file_in_etc_masks_its_namesake(tmp_path: Path) -> None:
    put(tmp_path / "usr/lib/systemd/network/50-a.link", "[Link]\nIRQAffinity=0-3\n")
    put(tmp_path / "etc/systemd/network/50-a.link", "[Link]\nName=eth9\n")
    assert read_link_writers(Tree(tmp_path)) == ()


@dataclass
class FakeDevice:
    sys_name: str
    is_initialized: bool
    properties: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("devices", "active", "told"),
    [
        ([FakeDevice("eth0", True, {"ID_NET_LINK_FILE": "/l/a.link"})], True, "applied to eth0"),
        ([FakeDevice("eth0", True, {"ID_NET_LINK_FILE": "/l/b.link"})], False, "/l/a.link"),
        ([FakeDevice("eth0", False)], None, "/l/a.link"),
    ],
)
def test_udev_tells_which_file_an_interface_uses(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    devices: list[FakeDevice],
    active: bool | None,
    told: str,
) -> None:
    class FakeContext:
        def list_devices(self, subsystem: str) -> list[FakeDevice]:
            assert subsystem == "net"
            return devices

    put(tmp_path / "l/a.link", "[Link]\nIRQAffinity=0\n")
    monkeypatch.setattr(pyudev, "Context", FakeContext)
    monkeypatch.setattr(linkfiles, "_FOLDERS", ("/l",))
    tree = Tree(tmp_path)
    tree.live = True
    (found,) = read_link_writers(tree)
    assert found.active is active
    assert told in found.detail


def test_no_libudev_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_library() -> None:
        raise ImportError("No library named udev")

    put(tmp_path / "etc/systemd/network/10-a.link", "[Link]\nIRQAffinity=0\n")
    monkeypatch.setattr(pyudev, "Context", no_library)
    tree = Tree(tmp_path)
    tree.live = True
    (found,) = read_link_writers(tree)
    assert found.active is None
    assert any("No library named udev" in line for line in tree.unknown())
