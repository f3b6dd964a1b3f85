"""Estimated energies against the formula by hand; what was measured has no part in them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ebbench.config import load_toml
from ebbench.energy.estimate import DEFAULT, TABLES, UnitEnergies, estimated, unit_energies
from ebbench.errors import ConfigError
from ebbench.records import EnergyAccount, PhaseEnergy

UNITS = UnitEnergies("mine", "a chip", "a book", {"8": 2.0, "32": 30.0}, {"8": 1.0, "32": 10.0}, 5.0, 0.5)
LOW = {
    "precision": "8 bits",
    "factor_bits": 8,
    "multiply_adds": 100,
    "float32_operations": 7,
    "bytes": 20,
    "float32_bytes": 80,
}
FULL = {
    "precision": "float32",
    "factor_bits": 32,
    "multiply_adds": 10,
    "float32_operations": 3,
    "bytes": 40,
    "float32_bytes": 40,
}
LOW_J, LOW_AS_FULL_J = 100 * 3.0 + 7 * 5.0 + 20 * 0.5, 100 * 40.0 + 7 * 5.0 + 80 * 0.5
FULL_J = 10 * 40.0 + 3 * 5.0 + 40 * 0.5


def measured(scale: float = 1.0) -> EnergyAccount:
    def phase(energy_j: float) -> PhaseEnergy:
        return PhaseEnergy(scale * energy_j, 1.0, energy_j, 3.0, 3.0, 1, "measured", "ok", readings=300)

    return EnergyAccount(
        reference={"meter": "nvml", "rail": "gpu", "scope": "gpu"}, kind="measured", total_j=scale * 900.0, uncertainty_j=9.0,
        redone_j=scale * 11.0, other_j=3.0, net_j=20.0, idle_power_w=2.0, duration_s=6.0, covered_s=6.0, down_s=0.0,
        by_phase={"search": phase(500.0), "search/epoch/draw": phase(0.1), "retrain": phase(400.0), "idle": phase(9.0)},
        phases=[{"path": "search", "energy_j": 500.0}], rails={"gpu": {"energy_j": 900.0}}, components_j={"gain": 4.0},
    )  # fmt: skip


def test_an_energy_is_operations_and_bytes_times_their_unit_energies():
    account = estimated(measured(), {"search": LOW, "retrain": FULL}, UNITS)
    assert account.by_phase["search"].energy_j == LOW_J and account.by_phase["retrain"].energy_j == FULL_J
    assert account.total_j == LOW_J + FULL_J
    assert account.estimate["float32_j"] == LOW_AS_FULL_J + FULL_J
    assert account.estimate["work"]["search"]["float32_j"] == LOW_AS_FULL_J
    assert account.estimate["unit_energies"]["source"] == "a book"


def test_a_divisor_takes_the_place_of_low_precisions_own_unit_energies():
    units = dataclasses.replace(UNITS, low_precision_divisor=4.0)
    account = estimated(measured(), {"search": LOW, "retrain": FULL}, units)
    assert account.by_phase["search"].energy_j == LOW_AS_FULL_J / 4 and account.by_phase["retrain"].energy_j == FULL_J


def test_nothing_that_was_measured_is_in_an_estimate():
    small, large = (estimated(measured(scale), {"search": LOW}, UNITS) for scale in (1.0, 1000.0))
    apart = ("while_simulating",)
    one, other = ({k: v for k, v in dataclasses.asdict(a).items() if k not in apart} for a in (small, large))
    assert one == other
    assert (
        small.rails == {} and small.phases == [] and small.components_j == {} and small.net_j is small.other_j is None
    )
    assert {phase.kind for phase in small.by_phase.values()} == {small.kind} == {"estimated"}
    assert small.reference == {"meter": "unit energies mine", "rail": "operations and bytes", "scope": "model"}


def test_what_was_measured_stays_whole_under_its_own_name():
    account = estimated(measured(), {"search": LOW}, UNITS)
    before = dataclasses.asdict(measured())
    assert {k: v for k, v in before.items() if k not in ("estimate", "while_simulating")} == account.while_simulating


def test_its_interval_is_unknown_and_not_zero():
    account = estimated(measured(), {"search": LOW}, UNITS)
    assert account.uncertainty_j is None and account.by_phase["search"].uncertainty_j is None


def test_a_run_that_did_not_end_has_no_total_rather_than_the_measured_one():
    account = estimated(measured(), None, UNITS)
    assert (account.kind, account.total_j, account.redone_j, account.by_phase) == ("estimated", None, None, {})
    assert "did not come to its end" in account.reason and account.status == "missing"
    assert account.while_simulating["total_j"] == 900.0


def test_the_default_table_holds_horowitzs_numbers_with_their_source():
    """As reprinted in many places, e.g. 10 pJ for 64 bits of an 8 kB cache, 0.03 pJ for an 8-bit addition beside these."""
    units = unit_energies(DEFAULT)
    assert units.multiply_j == {"8": 0.2e-12, "32": 3.7e-12} and units.accumulate_j == {"8": 0.1e-12, "32": 0.9e-12}
    assert units.byte_j == pytest.approx(1.3e-9 / 8) and units.float32_operation_j == pytest.approx(
        (3.7e-12 + 0.9e-12) / 2
    )
    assert "ISSCC 2014" in units.source and units.low_precision_divisor is None


def test_every_built_in_table_can_be_read_and_names_its_source():
    for name in load_toml(TABLES):
        units = unit_energies(name)
        assert units.name == name and units.source and units.title
        assert UnitEnergies(**json.loads(json.dumps(units.to_json()))) == units


def test_the_paper_calibrated_table_is_the_default_ones_float32_over_the_papers_ratio():
    units, default = unit_energies("paper-calibrated"), unit_energies(DEFAULT)
    assert units.energy_j(LOW) == pytest.approx(default.float32_j(LOW) / 4.7)
    assert units.energy_j(FULL) == default.energy_j(FULL)


OWN = """
[my-chip]
title = "mine"
source = "my thesis"
multiply_j = {{ 8 = 1e-13, 32 = 1e-12 }}
accumulate_j = {{ 8 = 1e-13, 32 = 1e-12 }}
float32_operation_j = 1e-12
{line}
"""


def test_a_table_from_a_file_is_taken(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text(OWN.format(line="byte_j = 1e-11"))
    assert unit_energies(str(path)).byte_j == 1e-11 and unit_energies(str(path)).name == "my-chip"
    path.write_text('[half]\ntitle = "h"\nsource = "s"\nbase = "horowitz-45nm"\nbyte_j = 1e-12\n')
    assert unit_energies(str(path)).byte_j == 1e-12 and unit_energies(str(path)).multiply_j["8"] == 0.2e-12


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "byte_j is missing"),
        ("byte_j = -1.0", "byte_j = -1.0 is not a number above 0"),
        ("byte_j = 0", "byte_j = 0 is not a number above 0"),
        ("byte_j = nan", "byte_j = nan is not a number above 0"),
        ('byte_j = "1 pJ"', "byte_j = '1 pJ' is not a number above 0"),
        ("byte_j = 1e-11\nbytes_j = 1", "unknown key 'bytes_j'; did you mean 'byte_j'"),
        ("byte_j = 1e-11\nbase = 'nobody'", "base = 'nobody' is not a table"),
    ],
)
def test_a_fault_of_a_table_is_one_line_that_names_it(tmp_path, line, said):
    path = tmp_path / "chip.toml"
    path.write_text(OWN.format(line=line))
    with pytest.raises(ConfigError) as caught:
        unit_energies(str(path))
    assert said in str(caught.value) and "chip.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"unknown unit energies 'horowitz'.*horowitz-45nm.*a file that ends in \.toml"
    ):
        unit_energies("horowitz")


def test_factors_of_an_unknown_width_are_refused():
    with pytest.raises(ConfigError, match="know no factors of 4 bits"):
        UNITS.energy_j({**LOW, "factor_bits": 4})
