"""Each obstacle on a tree that has it, and on one that does not; each is mended by a command that is said."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ebbench import obstacles
from ebbench.cli import display


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "torch, numpy, clash",
    [
        ("1.11.0", "1.24.4", False),
        ("2.2.2", "1.26.4", False),
        ("2.1.0a0+41361538.nv23.06", "2.0.1", True),
        ("1.11.0a0+gitbc2c6ed", "2.1.0", True),
        ("2.3.0", "2.0.1", False),
        ("2.10.0", "2.4.0", False),
        (None, "2.0.0", False),
        ("2.1.0", None, False),
    ],
)
def test_numpy_2_beside_a_torch_built_for_numpy_1_fails(torch, numpy, clash):
    found = list(obstacles.numpy_finding(torch, numpy))
    assert [f["verdict"] for f in found] == ["fail"] * clash
    assert not clash or found[0]["advice"] == "pip install 'numpy<2'"


@pytest.mark.parametrize(
    "client, service, advice",
    [
        ("7.2.2", "4.3.2", "pip install 'jetson-stats==4.3.*'"),
        ("4.3.2", "7.2.1", "pip install 'jetson-stats==7.2.*'"),
        ("7.2.2", "7.2.0", None),
        ("7.2.2", None, None),
        (None, "4.3.2", None),
    ],
)
def test_a_jetson_stats_that_its_service_will_not_talk_to_is_told_which_to_take(client, service, advice):
    found = list(obstacles.jtop_finding(client, lambda: service))
    assert [f["advice"] for f in found] == ([advice] if advice else [])


def test_the_service_is_asked_by_the_program_in_its_unit(tmp_path, monkeypatch):
    program = tmp_path / "usr/local/bin/jtop"
    write(program, "#!/bin/sh\necho jtop 4.3.2\n")
    program.chmod(0o755)
    assert obstacles.ask_jtop_service() is None  # no unit
    write(tmp_path / "etc/systemd/system/jtop.service", f"[Service]\nType=simple\nExecStart={program} --force\n")
    assert obstacles.ask_jtop_service() is None  # nothing of a tree that was made up is run
    monkeypatch.setattr(obstacles.environment, "is_simulated_root", lambda: False)
    assert obstacles.ask_jtop_service() == "4.3.2"
    program.chmod(0o644)
    assert obstacles.ask_jtop_service() is None


MEMINFO = "MemTotal: 8000000 kB\nMemAvailable: {free} kB\nSwapTotal: 4000000 kB\nSwapFree: {swap} kB\n"


@pytest.mark.parametrize(
    "free, swap, names",
    [(4000000, 4000000, []), (4000000, 3000000, ["swap"]), (400000, 4000000, ["memory"]), (10, 10, ["swap", "memory"])],
)
def test_swap_in_use_and_little_memory_are_warned_of(root, free, swap, names):
    assert list(obstacles.memory_findings()) == []  # no /proc
    write(root / "proc/meminfo", MEMINFO.format(free=free, swap=swap))
    found = list(obstacles.memory_findings())
    assert [f["name"] for f in found] == names and all(f["verdict"] == "warn" and f["advice"] for f in found)


def test_a_gpu_whose_clock_may_move_is_warned_of_and_a_locked_one_is_not(root):
    gpu = root / "sys/class/devfreq/17000000.gv11b"
    write(gpu / "min_freq", "114750000\n")
    write(gpu / "max_freq", "1377000000\n")
    write(root / "sys/class/devfreq/emc/min_freq", "1\n")
    write(root / "sys/class/devfreq/emc/max_freq", "2\n")
    (found,) = obstacles.gpu_clock_findings()
    assert "115 and 1377 MHz" in found["found"] and found["advice"] == "sudo jetson_clocks"
    write(gpu / "min_freq", "1377000000\n")
    assert list(obstacles.gpu_clock_findings()) == []


@pytest.mark.parametrize(
    "kind, scope, status, count",
    [
        ("Battery", "System", "Discharging", 1),
        ("Battery", "System", "Charging", 0),
        ("Battery", "Device", "Discharging", 0),  # a mouse
        ("Mains", "System", "Discharging", 0),
    ],
)
def test_a_battery_that_feeds_the_machine_is_warned_of(root, kind, scope, status, count):
    for name, text in (("type", kind), ("scope", scope), ("status", status)):
        write(root / "sys/class/power_supply/BAT0" / name, text + "\n")
    assert len(list(obstacles.battery_findings())) == count


def stat(pid, name, ticks):
    return f"{pid} ({name}) S 1 1 1 0 -1 4194560 1 0 0 0 {ticks} 0 0 0 20 0 1 0 100 0 0\n"


def test_processes_that_use_the_cpu_are_named_and_the_idle_and_our_own_are_not(root):
    hz = obstacles.os.sysconf("SC_CLK_TCK")
    for pid, name in ((10, "stress (ng)"), (11, "idle"), (12, "own"), (13, "bad\x1b[31m")):
        write(root / f"proc/{pid}/stat", stat(pid, name, 1000))

    def wait(seconds):
        for pid, name, share in (
            (10, "stress (ng)", 0.8),
            (11, "idle", 0.0),
            (12, "own", 0.9),
            (13, "bad\x1b[31m", 0.4),
        ):
            write(root / f"proc/{pid}/stat", stat(pid, name, 1000 + round(share * hz * seconds)))
        write(root / "proc/14/stat", stat(14, "new", 5000))

    (found,) = obstacles.process_findings(wait, own=[12])
    assert "stress (ng) (10) 80 %, bad?[31m (13) 40 % of a core" in found["found"]
    assert list(obstacles.process_findings(lambda seconds: None)) == []


def test_processes_on_the_gpu_are_named():
    said = "4242, /usr/bin/python3\n4243, [Not Found]\n"
    (found,) = obstacles.gpu_process_findings(lambda: said)
    assert "python3 (4242), [Not Found] (4243)" in found["found"]
    for nothing in (None, "", "No running processes found\n"):
        assert list(obstacles.gpu_process_findings(lambda said=nothing: said)) == []


@pytest.mark.parametrize("width", [80, 40])
def test_findings_fit_the_terminal_and_every_word_of_a_command_is_there(monkeypatch, width):
    written = io.StringIO()
    console = Console(file=written, width=width, force_terminal=True, no_color=True, highlight=False, soft_wrap=True)
    monkeypatch.setattr(display, "_stdout", lambda: console)
    advice = "pip uninstall -y torch; install JetPack's torch, then: python3 -m venv --system-site-packages .venv"
    display.print_findings(
        [
            obstacles.finding("torch", "fail", "2.4.1 sees no GPU although there is one: " * 3, advice),
            obstacles.finding("x", "ok", "y"),
        ]
    )
    lines = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in written.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert advice in " ".join(line.strip() for line in lines)
