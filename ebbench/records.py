"""The result of a run, as stored in ``record.json`` (schema: ``ebbench/schema/record-1.json``)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

SCHEMA_VERSION = 1
#: what to do about a record that cannot be read: only where there is none is one made in its place
MADE_ANEW = "move it away, then `ebbench run ... --resume` makes it anew (of a measured command `ebbench integrate`)"

MEASURED, EXTRAPOLATED, ESTIMATED, SIMULATED = "measured", "extrapolated", "estimated", "simulated"
#: of a run that was to have no meter (`off`): it has no energy, and so none of the four
NOT_MEASURED = "not measured"
PASS, WARN, FAIL, NOT_CHECKED = "PASS", "WARN", "FAIL", "NOT CHECKED"
OK, PARTIAL, MISSING = "ok", "partial", "missing"

TRAINING_PHASES = ("search", "draw", "prune", "rewind", "train", "retrain", "finetune")
OTHER_PHASES = ("idle", "warmup", "evaluate", "checkpoint", "amplify")
PHASE_NAMES = TRAINING_PHASES + OTHER_PHASES


@dataclass(frozen=True)
class PhaseEnergy:
    """Energy of all instances of one phase path (``epoch-N`` folded into ``epoch``, ``trial-N`` not), children included.

    `energy_j` is of the covered part (`covered_s` of `duration_s`), None when nothing is covered; `self_j` leaves the
    children out; `uncertainty_j` is the half width of the k = 2 interval; `status` is ok, partial or missing, with its reason.
    """

    energy_j: Optional[float]
    uncertainty_j: Optional[float]
    self_j: Optional[float]
    duration_s: float
    covered_s: float
    count: int
    kind: str
    status: str
    reason: Optional[str] = None
    readings: int = 0
    #: True when the phases were too short against the sampling period for their energy to be resolved
    unresolved: bool = False
    #: the run that measured it, or most of it, where a first training was taken from another run
    measured_by: Optional[str] = None


@dataclass(frozen=True)
class EnergyAccount:
    """What a run cost. `total_j` is gross, of the reference rail, over the training phases; see docs/measuring.md.

    `components_j` is the budget of `uncertainty_j`: standard uncertainties (k = 1, J) by name; the total's half width is
    twice their root sum of squares.
    """

    reference: Dict[str, Any]
    kind: str
    total_j: Optional[float]
    uncertainty_j: Optional[float]
    redone_j: Optional[float]
    other_j: Optional[float]
    net_j: Optional[float]
    idle_power_w: Optional[float]
    duration_s: float
    covered_s: float
    down_s: float
    by_phase: Dict[str, PhaseEnergy]
    phases: List[Dict[str, Any]]
    rails: Dict[str, Dict[str, Any]]
    components_j: Dict[str, Optional[float]]
    gaps: List[Dict[str, Any]] = field(default_factory=list)
    #: facts of the trace that the checks need: readings, rate_hz, missed, longest_gap_s, damage, saturated
    trace: Dict[str, Any] = field(default_factory=dict)
    #: per meter and trace: meter, trace, method (same, stated, round-trip, signature), offset_s, drift, bound_s, peak_ratio, reason
    clocks: List[Dict[str, Any]] = field(default_factory=list)
    status: str = OK
    reason: Optional[str] = None
    #: each other meter against the reference, as `energy.cross_check.cross_check` gives it
    cross_checks: List[Dict[str, Any]] = field(default_factory=list)
    #: how the totals were made from a few measured epochs, and what was measured (`energy.extrapolate`); None where all was
    extrapolation: Optional[Dict[str, Any]] = None
    #: where `kind` is estimated (`energy.estimate`): how, and the measured account of the simulation, which is in no total
    estimate: Optional[Dict[str, Any]] = None
    while_simulating: Optional[Dict[str, Any]] = None
    #: what is charged for a first training that another run did and measured (`energy.charge`); it is in the totals above
    charged: Optional[Dict[str, Any]] = None

    @property
    def unknown(self) -> List[str]:
        """What is not known of the meter, and so is left out of the interval of the total: names of components."""
        is_stated = self.total_j is not None and self.uncertainty_j is not None
        return [name for name, part in self.components_j.items() if part is None] if is_stated else []


@dataclass(frozen=True)
class Check:
    """One doubt, its number against its limit, and what to do about it."""

    name: str
    verdict: str
    value: Optional[float]
    limit: Optional[float]
    advice: str


@dataclass(frozen=True)
class RunRecord:
    """One run's result. Optional parts are None where a run has no such thing (dense has no ticket)."""

    schema_version: int
    run_id: str
    status: str
    kind: str
    recipe: Dict[str, Any]
    board: Dict[str, Any]
    meters: List[Dict[str, Any]]
    energy: EnergyAccount
    duration_s: float
    flops: Optional[Dict[str, Any]]
    accuracy: Optional[Dict[str, Any]]
    ticket: Optional[Dict[str, Any]]
    mask_distance_overhead: Optional[Dict[str, Any]]
    verdict: str
    checks: List[Check]
    files: Dict[str, str]
    environment: Dict[str, Any] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)
    reason: Optional[str] = None
    #: the board during the run (`ebbench.board.state`): power mode, temperatures, clocks, throttling; None where not logged
    board_state: Optional[Dict[str, Any]] = None

    @property
    def extrapolation(self) -> Optional[Dict[str, Any]]:
        """How few measured epochs came to stand for all (`EnergyAccount.extrapolation`), also where the energy is an estimate."""
        return self.energy.extrapolation or (self.energy.while_simulating or {}).get("extrapolation")

    @property
    def is_extrapolated(self) -> bool:
        """Whether a few epochs were trained in the place of all, so that there is no accuracy."""
        return self.kind == EXTRAPOLATED or self.extrapolation is not None

    @property
    def kind_text(self) -> str:
        """The kind in words: what was extrapolated from a simulated meter is both."""
        how = self.energy.extrapolation
        is_both = self.kind == SIMULATED and how is not None and not how["refused"]
        return f"{SIMULATED}, {EXTRAPOLATED}" if is_both else self.kind

    def to_json(self) -> Dict[str, Any]:
        """As JSON values; a number that is not finite becomes null, never NaN."""
        document = _finite(dataclasses.asdict(self))
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunRecord:
        """From what `to_json` gave."""
        fields = dict(document)
        fields["energy"] = account_from_json(fields["energy"])
        fields["checks"] = [Check(**check) for check in fields["checks"]]
        return cls(**fields)


def account_from_json(document: Mapping[str, Any]) -> EnergyAccount:
    """The account as objects, from what `RunRecord.to_json` wrote under ``energy``."""
    fields = dict(document)
    fields["by_phase"] = {path: PhaseEnergy(**value) for path, value in fields["by_phase"].items()}
    return EnergyAccount(**fields)


def worst(verdicts: List[str]) -> str:
    """The verdict of a whole: FAIL over WARN over PASS; what was not checked does not count as passed or failed."""
    return next((v for v in (FAIL, WARN) if v in verdicts), PASS)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
