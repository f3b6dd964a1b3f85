"""Which runs may be pooled and which compared, and the ratio of two energies with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from ebbench.config.method_settings import READERS, reads
from ebbench.quantity import Quantity, mean_of
from ebbench.records import NOT_MEASURED, OK, RunRecord, worst
from ebbench_reports.collect import Run

#: components of the budget that are the same error in every run of one bench: they do not average down, and they cancel in a ratio
COMMON = ("gain", "offset", "time_base")

#: components of where an energy begins and ends: two energies share them where they share both ends
_AT_ENDS = ("edges", "lag", "hold")

#: settings of a recipe that a dense training does not depend on
_NOT_DENSE = ("method", *(name for name in READERS if not reads("dense", name)))
#: settings that say where things are and how often they are saved, not what is trained
_NOT_TRAINING = ("seed", "data_dir", "checkpoint_s", "share_phases")


@dataclass(frozen=True)
class BenchKey:
    """With what an energy was measured. Energies with different keys are different quantities."""

    kind: str
    board: str
    meter: str
    rail: str
    scope: str
    instrument: str
    device: str
    host: str = ""
    power_mode: str = ""

    def title(self) -> str:
        """In words, for headings."""
        board = "unknown board" if self.board in ("", "unknown") else self.board
        place = f"meter {self.meter}, rail {self.rail} ({self.scope})" if self.meter else "no meter"
        mode = f"power mode {self.power_mode}" if self.power_mode else ""
        return ", ".join(part for part in (board, mode, self.device, place, self.kind) if part)


@dataclass(frozen=True)
class Group:
    """Replicates: runs of one recipe but for the seed, on one bench. One row of a table.

    `energy_j` (training energy, J, total - redone) has the half width of an interval that holds both the measurement (k = 2)
    and, from two runs on, what the replicates scatter (95 %, Student's t). `common_j` are the standard
    uncertainties shared by all runs of the bench, `own_j` is the standard uncertainty of everything else.
    """

    runs: Tuple[Run, ...]
    bench: BenchKey
    energy_j: Optional[Quantity]
    common_j: Mapping[str, float]
    own_j: Optional[float]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The settings of the first run."""
        return self.runs[0].record.recipe

    @property
    def verdict(self) -> str:
        """The worst verdict of the runs."""
        return worst([run.record.verdict for run in self.runs])

    @property
    def whole(self) -> bool:
        """Whether the energies are there and cover the whole training."""
        return self.energy_j is not None and self.runs[0].record.energy.status == OK

    def mean(self, part: str, name: str) -> Optional[Quantity]:
        """Mean of one number of the records, such as ``("accuracy", "best")``; None unless every run has it."""
        values = [(getattr(run.record, part) or {}).get(name) for run in self.runs]
        return None if any(v is None for v in values) else mean_of(values)


@dataclass(frozen=True)
class Saving:
    """An energy against a reference: `ratio` = energy / reference, with the half width of its interval."""

    ratio: Quantity
    reference: Group


def pool(runs: Sequence[Run]) -> List[Group]:
    """Groups of replicates among the runs that succeeded, in the order of the runs."""
    groups: Dict[Tuple[Any, ...], List[Run]] = {}
    for run in runs:
        if run.record.status == "success":
            status = run.record.energy.status if run.energy_j is not None else "none"
            # an energy of a part of the training is no replicate of one of the whole
            key = (bench_key(run), status, recipe_key(run.record.recipe) or run.record.run_id)
            groups.setdefault(key, []).append(run)
    return [make_group(members) for members in groups.values()]


def bench_key(run: Run) -> BenchKey:
    """With what this run was measured."""
    record, reference = run.record, run.record.energy.reference
    if record.kind == NOT_MEASURED:
        reference = {}
    return BenchKey(
        kind=record.kind_text,
        board=str(record.board.get("title") or record.board.get("name") or ""),
        meter=str(reference.get("meter") or ""),
        rail=str(reference.get("rail") or ""),
        scope=str(reference.get("scope") or ""),
        instrument=_instrument(record),
        device=run.device or "",
        # a container's host name is made anew at every start and says nothing of the board
        host="" if record.environment.get("container") else str(record.environment.get("host") or ""),
        power_mode=str(record.environment.get("power_mode") or ""),
    )


def recipe_key(recipe: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    """What replicates have in common: every setting but the seed, and for dense training none that it does not use."""
    ignored = _NOT_TRAINING + (_NOT_DENSE[1:] if recipe.get("method") == "dense" else ())
    return tuple(sorted((k, str(v)) for k, v in recipe.items() if k not in ignored))


def differing_settings(recipes: Sequence[Mapping[str, Any]]) -> List[str]:
    """The settings of training, by name, in which recipes differ; the seed is none."""
    names = sorted({name for recipe in recipes for name in recipe} - set(_NOT_TRAINING))
    return [name for name in names if len({str(recipe.get(name)) for recipe in recipes}) > 1]


def settings_text(recipe: Mapping[str, Any], names: Sequence[str]) -> str:
    """``, draw=10, search_rate=0.01``: what of these was set; a list of one is its value."""
    shown = {name: recipe.get(name) for name in names if recipe.get(name) is not None}
    values = {n: v[0] if isinstance(v, (list, tuple)) and len(v) == 1 else v for n, v in shown.items()}
    return "".join(f", {name}={value}" for name, value in values.items())


def make_group(runs: Sequence[Run]) -> Group:
    """Pool replicates: the mean energy and its interval."""
    energies = [run.energy_j for run in runs if run.energy_j is not None]
    bench = bench_key(runs[0])
    if len(energies) < len(runs):
        return Group(tuple(runs), bench, None, {}, None)
    budgets = [_budget(run) for run in runs]
    known = [budget for budget in budgets if budget is not None]
    mean = mean_of(energies)
    if len(known) < len(runs):
        return Group(tuple(runs), bench, Quantity(mean.value), {}, None)
    n = len(runs)
    common = {name: math.fsum(b[0].get(name, 0.0) for b in known) / n for name in COMMON}
    measured = math.sqrt(math.fsum(b[1] ** 2 for b in known)) / n
    # What replicates scatter already contains the measurement's own errors: the larger of the two, not both.
    own = max(measured, (mean.half_width or 0.0) / 2)
    half_width = 2 * math.sqrt(own**2 + math.fsum(c**2 for c in common.values()))
    return Group(tuple(runs), bench, Quantity(mean.value, half_width), common, own)


def saving(group: Group, reference: Optional[Group]) -> Union[Saving, str]:
    """The energy of `group` against `reference`, or the reason why the two must not be compared."""
    if reference is None:
        return "no dense run to compare with"
    if group.bench != reference.bench:
        return f"not compared with {_cite(reference)}: {_differences(group.bench, reference.bench)}"
    for side in (group, reference):
        if not side.whole:
            return f"not compared: the energy of {_cite(side)} does not cover its whole training"
    assert group.energy_j is not None and reference.energy_j is not None
    if not (group.energy_j.value > 0 and reference.energy_j.value > 0):
        return "not compared: an energy is not above zero"
    return Saving(_ratio(group, reference), reference)


def find_reference(group: Group, groups: Sequence[Group]) -> Union[Group, str]:
    """The dense training that differs from `group` in the method alone, or why there is none."""
    names = ("model", "dataset")
    dense = [g for g in groups if g.recipe.get("method") == "dense"]
    dense = [g for g in dense if all(g.recipe.get(n) == group.recipe.get(n) for n in names)]
    if not dense:
        return "no dense run of this model and data set"
    same_bench = [g for g in dense if g.bench == group.bench]
    if not same_bench:
        return f"not compared with {_cite(dense[0])}: {_differences(group.bench, dense[0].bench)}"
    equal = [g for g in same_bench if not _other_settings(group, g)]
    if not equal:
        return f"not compared with {_cite(same_bench[0])}: {_other_settings(group, same_bench[0])}"
    # with several, the one that agrees in most of the settings that should not matter
    return min(equal, key=lambda g: (not g.whole, sum(g.recipe.get(n) != group.recipe.get(n) for n in _NOT_DENSE)))


def _ratio(group: Group, reference: Group) -> Quantity:
    """E / E0 and twice its standard uncertainty, to first order.

    An error common to both (gain: the same fraction of each) enters as the difference of its two relative sizes, so
    that it cancels where they are equal; everything else adds in squares, less what a training that both are charged has
    in both.
    """
    energy, energy_0 = group.energy_j, reference.energy_j
    assert energy is not None and energy_0 is not None
    ratio = energy.value / energy_0.value
    if group.own_j is None or reference.own_j is None:
        return Quantity(ratio)
    if group is reference:
        return Quantity(1.0, 0.0)
    squares = (group.own_j / energy.value) ** 2 + (reference.own_j / energy_0.value) ** 2
    shared = min(_shared_variance(group, reference), group.own_j * reference.own_j)  # no covariance can be larger
    squares -= 2 * shared / (energy.value * energy_0.value)
    for name in COMMON:
        common = group.common_j.get(name, 0.0) / energy.value - reference.common_j.get(name, 0.0) / energy_0.value
        squares += common**2
    return Quantity(ratio, 2 * ratio * math.sqrt(max(squares, 0.0)))


def _shared_variance(group: Group, reference: Group) -> float:
    """The covariance (J²) of two mean energies, of the trainings that runs of both hold: the one that did it, and those charged."""
    pairs = [_variance_in_both(one, other) for one in group.runs for other in reference.runs]
    return math.fsum(pairs) / len(pairs)


def _variance_in_both(one: Run, other: Run) -> float:
    """The variance (J², k = 1) of the energy that both runs hold, `COMMON` components apart; 0 where they share nothing."""
    first, second = one.charged, other.charged
    if first and second and all(first.get(name) == second.get(name) for name in ("from", "record_sha256")):
        charge, same_ends = min(first, second, key=lambda c: int(c["epochs"])), first["epochs"] == second["epochs"]
    elif second and _is_lender(one, other):
        charge, same_ends = second, second["epochs"] == one.record.recipe.get("epochs")
    elif first and _is_lender(other, one):
        charge, same_ends = first, first["epochs"] == other.record.recipe.get("epochs")
    else:
        return 0.0
    parts = charge.get("components_j") or {}
    shared = [name for name in parts if name not in (*COMMON, *(() if same_ends else _AT_ENDS))]
    return math.fsum((parts[name] or 0.0) ** 2 for name in shared)


def _is_lender(lender: Run, taker: Run) -> bool:
    """Whether it is the run beside `taker` whose first training `taker` is charged for."""
    name = (taker.charged or {}).get("from")
    return name == lender.record.run_id and lender.folder.parent == taker.folder.parent


def _budget(run: Run) -> Optional[Tuple[Dict[str, float], float]]:
    """The common components (J, k = 1), scaled from the total to total - redone, and the rest of the stated uncertainty."""
    account = run.record.energy
    if account.uncertainty_j is None or account.total_j is None:
        return None
    part = (run.energy_j or 0.0) / account.total_j if account.total_j else 1.0
    common = {name: (account.components_j.get(name) or 0.0) * part for name in COMMON}
    rest = (account.uncertainty_j / 2) ** 2 - math.fsum((account.components_j.get(name) or 0.0) ** 2 for name in COMMON)
    return common, math.sqrt(max(rest, 0.0))


def _instrument(record: RunRecord) -> str:
    """The serial number or UUID of the reference meter, where it states one."""
    for meter in record.meters:
        if meter.get("name") == record.energy.reference.get("meter"):
            identity = meter.get("identity") or {}
            return str(identity.get("serial") or identity.get("uuid") or "")
    return ""


def _cite(group: Group) -> str:
    numbers = ", ".join(str(run.number) for run in group.runs)
    return f"run{'s' if len(group.runs) > 1 else ''} {numbers}"


def _differences(one: BenchKey, other: BenchKey) -> str:
    names = [name for name in vars(one) if getattr(one, name) != getattr(other, name)]
    return "; ".join(
        f"{n.replace('_', ' ')} differs ({getattr(one, n) or 'unknown'} / {getattr(other, n) or 'unknown'})"
        for n in names
    )


def _other_settings(one: Group, other: Group) -> str:
    """The settings, method and replicate apart, in which two recipes differ."""
    names = sorted({*one.recipe, *other.recipe} - {*_NOT_DENSE, *_NOT_TRAINING, "measure_epochs"})
    return "; ".join(
        f"{n} differs ({one.recipe.get(n)} / {other.recipe.get(n)})"
        for n in names
        if one.recipe.get(n) != other.recipe.get(n)
    )
