"""The numbers of the paper, as its tables print them, and what in them cannot be right (reports/published-numbers.md)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

FOLDER = Path(__file__).with_name("paper")
#: what says which value a row of a file is of; every other column is a value
PLACES = ("table", "model", "dataset", "method", "prune_ratio", "lr_schedule", "initial_lr", "draw_epoch")
#: the columns of the files, by the measures of our tables
COLUMNS = {
    "retrain_acc": "accuracy", "energy_kj": "energy", "energy_mj": "energy", "flops_p": "flops", "top1_acc": "accuracy",
    "top1_improv": "top1_gain", "top5_acc": "top5", "top5_improv": "top5_gain", "acc_improv": "accuracy",
    "energy_improv_x": "energy", "flops_improv_x": "flops",
}  # fmt: skip
IMPROVEMENT = "improvement"


@dataclass(frozen=True)
class Published:
    """One place of a table: where it is, and what is printed there, in the table's own units."""

    place: Mapping[str, str]
    #: by measure, as printed: 93.20 is not 93.2
    texts: Mapping[str, str]

    @property
    def values(self) -> Dict[str, float]:
        """As numbers."""
        return {measure: float(text) for measure, text in self.texts.items()}


def published(table: int) -> List[Published]:
    """All places of one table, in the order of the paper; the improvement row as a method of its own."""
    files = {1: ["tables1_4"], 2: ["table2", "table2_improvement"], 3: ["table3"], 4: ["tables1_4"]}[table]
    found = []
    for name in files:
        for line in _lines(f"{name}.csv"):
            if line.get("table", str(table)) != str(table):
                continue
            place = {key: text for key, text in line.items() if key in PLACES and key != "table"}
            if name == "table2_improvement":
                place["method"] = IMPROVEMENT
            texts = {COLUMNS[key]: text for key, text in line.items() if key in COLUMNS and text}
            found.append(Published({key: canonical(text) for key, text in place.items()}, texts))
    return found


def doubt(table: int, place: Mapping[str, str], measure: str) -> Optional[str]:
    """Why a published value cannot be right; None where nothing is known against it."""
    wanted = {"table": str(table), "measure": measure, **place}
    for line in _lines("doubts.csv"):
        named = {key: canonical(text) for key, text in line.items() if key != "doubt" and text}
        if all(wanted.get(key) == text for key, text in named.items()):
            return line["doubt"]
    return None


def canonical(value: object) -> str:
    """A setting as text, numbers the same however they were written: 0.50 and 0.5."""
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value)


def improvement(values: Mapping[str, Mapping[str, float]]) -> Dict[str, Optional[float]]:
    """The row "EB Train Improv." from {method: {measure: value}} at one prune ratio; None where a value is missing.

    Accuracy: the better of re-init and FF less the best of the four baselines. Energy: the least of the baselines over LL's.
    FLOPs: the least of the baselines over the least of EB Train.
    """
    baselines, ours = ("lt", "snip", "ns", "thinet"), ("eb-reinit", "eb-ff", "eb-lf", "eb-ll")

    def of(methods: Tuple[str, ...], measure: str) -> Optional[List[float]]:
        found = [values.get(method, {}).get(measure) for method in methods]
        known = [value for value in found if value is not None]
        return known if len(known) == len(methods) else None

    best, strongest = of(ours[:2], "accuracy"), of(baselines, "accuracy")
    low, energies = of(("eb-ll",), "energy"), of(baselines, "energy")
    least, flops = of(ours, "flops"), of(baselines, "flops")
    return {
        "accuracy": max(best) - max(strongest) if best and strongest else None,
        "energy": min(energies) / min(low) if energies and low and min(low) > 0 else None,
        "flops": min(flops) / min(least) if flops and least and min(least) > 0 else None,
    }


@lru_cache(maxsize=None)
def _lines(name: str) -> Tuple[Dict[str, str], ...]:
    with open(FOLDER / name, encoding="utf-8", newline="") as file:
        return tuple({key: text or "" for key, text in line.items()} for line in csv.DictReader(file))
