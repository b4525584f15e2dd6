# SPDX-License-Identifier: GPL-2.0-only
"""The lab's pure parts: streams, the kernel's messages, QEMU's arguments, the command's script."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm.lab import console, machine
from vm.lab.cache import Cache
from vm.lab.job import TREE, command_script, facts
from vm.lab.options import Options, parse
from vm.lab.streams import Lines, TokenEnded
from vm.scene.calls import create_log, summarize

TOKEN = b"\0abc\0"


@given(
    data=st.lists(st.sampled_from([b"\0", b"a", b"b", b"c", b"\0abc", b"x"])).map(b"".join),
    cuts=st.lists(st.integers(0, 60)),
)
def test_stream_passes_all_but_the_token(data: bytes, cuts: list[int]) -> None:
    data = data.replace(TOKEN, b"")
    whole = data + TOKEN + b"beyond"
    expected = whole[: whole.index(TOKEN)]
    seen: list[bytes] = []
    stream = TokenEnded(TOKEN, seen.append)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for start, end in itertools.pairwise(places):
        stream.feed(whole[start:end])
    assert b"".join(seen) == expected
    assert stream.ended


def test_stream_without_its_token_is_passed_whole() -> None:
    seen: list[bytes] = []
    stream = TokenEnded(TOKEN, seen.append)
    stream.feed(b"text\0ab")
    assert b"".join(seen) == b"text"
    stream.close()
    assert b"".join(seen) == b"text\0ab"
    assert not stream.ended


def test_lines_wait_for_their_end() -> None:
    lines = Lines()
    assert lines.feed(b"boot") == []
    assert lines.feed(b"ed 1.5\nexit ") == ["booted 1.5"]
    assert lines.feed(b"0\n") == ["exit 0"]


@pytest.mark.parametrize(
    "line",
    [
        "[ 1.0] WARNING: CPU: 1 PID: 9 at net/core/dev.c:1",
        "[ 1.0] BUG: kernel NULL pointer dereference, address: 0",
        "[ 1.0] Oops: int3: 0000 [#1] PREEMPT SMP",
        "[ 1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[ 1.0] INFO: task x:1 blocked for more than 120 seconds.",
        "[ 1.0] Kernel panic - not syncing: sysrq triggered crash",
    ],
)
def test_trouble_is_found(line: str) -> None:
    assert console.trouble(f"all well\n{line}\nall well\n") == [line]


def test_no_trouble_in_ordinary_messages() -> None:
    assert console.trouble("mtrr: your CPUs had inconsistent fixed MTRR settings\n") == []


@pytest.mark.parametrize(
    ("frame", "stray"),
    [
        ("ttwu_do_activate+0x8d/0x1e0", True),
        ("al_wakeup+0x8d/0x1e0 [agent_latency]", False),
        ("bpf_prog_f0e5b5a0_waking+0x8/0x100", False),
        ("bpf_trampoline_6442+0x47/0x1000", False),
    ],
)
def test_int3_is_stray_only_without_our_code(frame: str, stray: bool) -> None:
    text = f"Oops: int3: 0000 [#1] SMP\nRIP: 0010:{frame}\nModules linked in: agent_latency\n"
    assert console.is_stray_int3(text) is stray


def test_another_oops_is_not_a_stray_int3() -> None:
    assert not console.is_stray_int3("BUG: kernel NULL pointer dereference\nRIP: 0010:0x0\n")


def guest(**changes: object) -> machine.Machine:
    values: dict[str, object] = {
        "qemu": Path("/q"),
        "kernel": Path("/k"),
        "initramfs": Path("/i"),
        "job": Path("/j"),
        "accelerator": "multi",
        "ports": (5, 6, 7),
    }
    return machine.Machine(**{**values, **changes})  # type: ignore[arg-type]


def test_every_device_has_a_place_of_its_own() -> None:
    words = machine.arguments(guest(out=Path("/o")))
    places = [word.rpartition("addr=")[2] for word in words if ",addr=" in word]
    assert len(places) == len(set(places)) == 11


def test_no_way_out_of_the_guest() -> None:
    words = machine.arguments(guest())
    backends = [words[place + 1] for place, word in enumerate(words) if word == "-netdev"]
    assert len(backends) == 6
    assert all(backend.startswith("hubport,") and "netdev=" not in backend for backend in backends)
    assert "-nodefaults" in words


def test_the_hosts_files_are_read_only() -> None:
    words = " ".join(machine.arguments(guest(out=Path("/o"))))
    assert "id=root,path=/,security_model=none,multidevs=remap,readonly=on" in words
    assert "id=out,path=/o,security_model=none,multidevs=remap -device" in words


def test_commas_in_paths_are_kept() -> None:
    assert "path=/a,,b," in " ".join(machine.arguments(guest(out=Path("/a,b"))))


def test_remapping_under_kvm_splits_the_irqchip() -> None:
    assert "q35,hpet=off,vmport=off,kernel-irqchip=split" in machine.arguments(
        guest(iommu=True, accelerator="kvm")
    )
    assert "intel-iommu,intremap=on" in machine.arguments(guest(iommu=True))
    assert "intel-iommu,intremap=on" not in machine.arguments(guest())


def test_a_counting_clock_has_one_thread() -> None:
    accelerator = parse(["--icount", "--", "ls"]).threads
    words = machine.arguments(guest(accelerator=accelerator))
    assert {"tcg,thread=single", "shift=0,sleep=off"} <= set(words)
    assert "-icount" not in machine.arguments(guest(accelerator="single"))


def test_memory_map_settles_before_a_second_cpu_runs() -> None:
    words = machine.arguments(guest())
    assert "maxcpus=1" in words[words.index("-append") + 1].split()
    script = (TREE / "vm/guest/init").read_text()
    order = [script.index(part) for part in ('of="$device/config"', 'echo 1 > "$cpu"', "insmod ")]
    assert order == sorted(order)


def test_options_stop_at_the_command() -> None:
    options = parse(["--kernel", "6.1", "--iommu", "--single", "--", "ls", "--kernel"])
    assert options == Options(("ls", "--kernel"), kernel="6.1", iommu=True, threads="single")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--kernel", "5.10", "ls"],
        ["--seconds", "-1", "ls"],
        ["--seconds", "x", "ls"],
        ["--icount", "--single", "ls"],
    ],
)
def test_wrong_options_are_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(argv)
    assert refused.value.code == 2


def test_the_command_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTTUNE_WORD", "a 'b' $c")
    command = ("printf", "%s|", "$HOME", "a b", "it's", "*")
    script = command_script(Options(command), Cache(Path("/c")))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "$HOME|a b|it's|*|"
    assert """export AGENTTUNE_WORD='a '"'"'b'"'"' $c'""" in script


def test_facts_are_lines_of_pairs() -> None:
    text = facts(Options(("x",), kernel="6.1", iommu=True), "single")
    assert text == "kernel=6.1\niommu=yes\naccelerator=single\n"


def test_quantiles_are_values_that_occurred() -> None:
    summary = summarize(list(range(100, 0, -1)))
    assert summary is not None
    assert (summary.count, summary.p50_ns, summary.p90_ns, summary.p99_ns) == (100, 50, 90, 99)
    assert summarize([]) is None
    assert str(summarize([2_000_000])) == "p50 2.00  p90 2.00  p99 2.00 ms  (1 calls)"


def test_log_is_shared_between_two_mappings(tmp_path: Path) -> None:
    written = create_log(tmp_path / "calls", 3)
    for number in range(3):
        written.append(number, number * 10)
    assert written.capacity == len(written) == 3
    assert [call.round_trip_ns for call in written.since(1)] == [10, 20]
    with pytest.raises(ValueError, match="full"):
        written.append(3, 30)
    written.close()
