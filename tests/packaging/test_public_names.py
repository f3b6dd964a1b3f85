from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from typing import Set

import pytest

import ebbench
from ebbench import plugins

HEAVY = ["torch", "torchvision", "matplotlib", "pandas", "pyarrow", "scipy", "numpy"]
LOADED = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"
HELP = """
import sys
from ebbench.cli import main
sys.argv = ["ebbench", "--help"]
try:
    main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
"""


def loaded_by(code: str) -> Set[str]:
    """The heavy libraries that a fresh interpreter has loaded after `code`."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(eval(done.stdout.splitlines()[-1]))


def test_importing_ebbench_loads_nothing_heavy():
    assert loaded_by("import ebbench") == set()


def test_its_help_loads_neither_torch_nor_matplotlib():
    assert loaded_by(HELP) & {"torch", "torchvision", "matplotlib", "pandas"} == set()


def test_the_energy_monitor_comes_without_torch_and_matplotlib():
    assert loaded_by("import ebbench; ebbench.EnergyMonitor") & {"torch", "torchvision", "matplotlib"} == set()


def test_the_public_names_are_these_and_all_exist():
    assert sorted(ebbench.__all__) == ["EnergyMonitor", "__version__"]
    for name in ebbench.__all__:
        assert getattr(ebbench, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ebbench.nothing


def test_the_version_is_that_of_the_distribution():
    assert ebbench.__version__ == metadata.version("ebbench")


@pytest.mark.parametrize(
    ("group", "names"),
    [
        (plugins.METERS, {"sim", "replay", "ina3221", "nvml"}),
        (plugins.BOARDS, {"builtin"}),
        (plugins.PIPELINES, {"dense", "eb-ff", "eb-reinit"}),
        (plugins.EXPERIMENTS, {"builtin"}),
        (plugins.REPORTS, {"html"}),
    ],
)
def test_everything_that_is_registered_can_be_loaded(group, names):
    assert names <= set(plugins.registered(group))
    for name in names:
        assert plugins.load(group, name) is not None


def test_the_outer_components_take_no_everyday_name():
    """Nothing called devices, baselines or reports may land in anybody's environment."""
    files = {str(file).split("/")[0] for file in metadata.files("ebbench") or []}
    assert not files & {"devices", "baselines", "reports", "tests"}
