"""Run folders as a run leaves them, made from stated truths: records, phases and traces of every kind that a report meets."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ebbench.clock import ClockReading
from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.records import Check, EnergyAccount, PhaseEnergy, RunRecord
from ebbench.rundir import RunDir, write_json

RECIPE: Dict[str, Any] = {
    "method": "dense", "model": "vgg16", "dataset": "cifar10", "data_dir": "data", "prune_ratio": 0.5, "seed": 1,
    "epochs": 20, "batch_size": 256, "learning_rate": 0.1, "milestones": [0.5, 0.75], "momentum": 0.9, "weight_decay": 1e-4,
    "l1": 1e-4, "draw": "early-bird", "epsilon": 0.1, "fifo_length": 5, "pairs": "paper", "retrain_epochs": "remaining",
    "train_images": None, "test_images": None, "evaluate_every": 1, "deterministic": True, "threads": 1, "checkpoint_s": 120.0,
}  # fmt: skip
RAIL = Rail("VDD_IN", "module", gain_ratio=0.01, offset_w=0.02, resolution_w=0.008)
INFO = MeterInfo("ina3221", "module", False, (RAIL,), (Column("VDD_IN_w"),), ("VDD_IN",), 100.0)
REFERENCE = {"meter": "ina3221", "rail": "VDD_IN", "scope": "module"}
BOARD = {"name": "jetson-tx2", "title": "Jetson TX2"}
DEVICE = {"name": "cuda", "title": "NVIDIA Tegra X2 (256 CUDA cores)", "uuid": None}
DISTANCES = [None, 0.42, 0.31, 0.22, 0.16, 0.12, 0.098, 0.091, 0.083, 0.077, 0.071]
BOOT, WALL_NS = "00000000-0000-4000-8000-000000000001", 1_790_000_000_000_000_000


def account(total_j: Optional[float] = 400e3, **changes: Any) -> EnergyAccount:
    """An account with a gain of 1 %, an offset of .5 % and 0.2 % of its own; `by_phase` follows the method's phases."""
    energy_j = total_j or 0.0
    parts = {"gain": 0.01 * energy_j, "offset": 0.005 * energy_j, "edges": 0.002 * energy_j, "sampling": 1.0}
    half_width_j = 2 * math.sqrt(sum(part**2 for part in parts.values()))
    fields: Dict[str, Any] = {
        "reference": dict(REFERENCE), "kind": "measured", "total_j": total_j,
        "uncertainty_j": half_width_j if total_j is not None else None, "redone_j": 0.0, "other_j": 0.02 * energy_j,
        "net_j": 0.7 * energy_j, "idle_power_w": 3.1, "duration_s": 36000.0, "covered_s": 36000.0, "down_s": 0.0,
        "by_phase": {"train": phase(total_j), "idle": phase(600.0)}, "phases": [], "rails": {},
        "components_j": parts if total_j is not None else {}, "trace": {"readings": 3_600_000, "rate_hz": 100.0},
    }  # fmt: skip
    fields.update(changes)
    return EnergyAccount(**fields)


def phase(energy_j: Optional[float], duration_s: float = 36000.0, count: int = 1) -> PhaseEnergy:
    half_width_j = None if energy_j is None else 0.022 * energy_j
    status = "missing" if energy_j is None else "ok"
    return PhaseEnergy(
        energy_j, half_width_j, energy_j, duration_s, duration_s, count, "measured", status, None, 3_600_000
    )


def record(run_id: str = "dense-vgg16-cifar10-s1-0a1b2c3d", **changes: Any) -> RunRecord:
    """A dense run that went well; `recipe` is laid over the usual one."""
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    fields: Dict[str, Any] = {
        "schema_version": 1, "run_id": run_id, "status": "success", "kind": "measured", "recipe": recipe, "board": dict(BOARD),
        "meters": [{**INFO.to_json(), "reference": True}], "energy": account(), "duration_s": 36650.0,
        "flops": {"total": 1.5e16, "forward_dense": 6.27e8, "forward_pruned": None},
        "accuracy": {"final": 0.9312, "best": 0.9325, "top5_final": 0.998}, "ticket": None, "mask_distance_overhead": None,
        "verdict": "PASS", "checks": [Check("coverage", "PASS", 0.0, 0.001, "")],
        "files": {"phases.jsonl": f"{abs(hash(run_id)):064x}"[:64]},
        "environment": {"python": "3.8.10", "packages": {"torch": "1.11.0"}, "host": "tx2-lab", "power_mode": "0"},
    }  # fmt: skip
    fields.update(changes)
    return RunRecord(**fields)


def early_bird(
    run_id: str = "eb-ff-vgg16-cifar10-p0.5-s1-4e5f6a7b", total_j: float = 140e3, **changes: Any
) -> RunRecord:
    """An EB Train run: search to epoch 11, prune, retrain."""
    by_phase = {
        "search": phase(0.55 * total_j), "search/epoch": phase(0.549 * total_j, count=11),
        "search/epoch/draw": phase(0.0001 * total_j, 0.02, 11), "search/evaluate": phase(0.01 * total_j, 200.0, 11),
        "prune": phase(0.001 * total_j, 1.0), "retrain": phase(0.449 * total_j), "idle": phase(600.0),
    }  # fmt: skip
    overhead = {
        "draws": 11, "duration_s": 0.02, "time_fraction": 4.1e-5, "flops_fraction": 3.3e-8, "memory_fraction": 2.9e-4,
        "energy_fraction": 3.75e-5, "energy_fraction_uncertainty": 4.2e-6, "kind": "measured",
        "paper_convention": {"memory_fraction": 2.87e-4, "flops_fraction": 2.57e-4},
    }  # fmt: skip
    recipe = {"method": "eb-ff", **changes.pop("recipe", {})}
    slowness = 0.6 + 0.4 * recipe.get("prune_ratio", 0.5) + 0.1 * recipe.get("seed", 1)
    fields: Dict[str, Any] = {
        "recipe": recipe,
        "energy": account(total_j, by_phase=by_phase),
        "flops": {"total": 5.1e15, "forward_dense": 6.27e8, "forward_pruned": 1.6e8},
        "accuracy": {"final": 0.9291, "best": 0.9300, "top5_final": 0.997},
        "ticket": {
            "found": True,
            "epoch": 11,
            "distances": [d and d * slowness for d in DISTANCES],
            "kept_channels": 2112,
            "channels": 4224,
        },
        "mask_distance_overhead": overhead,
    }
    fields.update(changes)
    return record(run_id, **fields)


def write_run(folder: Path, run: RunRecord, *, device: Optional[Dict[str, Any]] = None, traced: bool = False) -> Path:
    """The folder of a run that ended; `traced`: with phases and a trace that are minutes long."""
    rundir = RunDir(folder)
    rundir.create()
    write_json(rundir.manifest, {"run_id": run.run_id, "device": device or DEVICE})
    write_phases(folder, run)
    if traced:
        write_trace(folder, DENSE_SPANS if run.recipe.get("method") == "dense" else SPANS)
    write_json(rundir.record, run.to_json())
    return folder


#: (path, start, end) in seconds since the start; the epochs of `search` and `retrain` are made by `write_phases`
SPANS: Tuple[Tuple[str, float, float], ...] = (
    ("idle", 0, 10), ("warmup", 10, 14), ("search", 14, 124), ("prune", 124, 126), ("retrain", 126, 198), ("evaluate", 198, 203),
    ("amplify", 203, 223), ("idle", 223, 233),
)  # fmt: skip
DENSE_SPANS = (("idle", 0.0, 10.0), ("train", 10.0, 214.0), ("evaluate", 214.0, 219.0), ("idle", 219.0, 229.0))
POWER_W = {
    "idle": 3.1,
    "warmup": 7,
    "search": 11.5,
    "train": 11.5,
    "prune": 5,
    "retrain": 8.6,
    "evaluate": 7.5,
    "amplify": 6.2,
}


def write_phases(folder: Path, run: RunRecord) -> None:
    """A phase log in which every epoch ends with an accuracy, and a search with its ticket."""
    dense = run.recipe.get("method") == "dense"
    lines = [_line("start", 0, segment=0, boot_id=BOOT, boottime_ns=0, pid=1, restored=None)]
    number = 0
    for path, start_s, end_s in DENSE_SPANS if dense else SPANS:
        number += 1
        lines.append(_line("begin", start_s, id=number, path=path))
        first, count = {"search": (1, 11), "retrain": (12, 9), "train": (1, 20)}.get(path, (1, 0))
        step_s = (end_s - start_s) / max(count, 1)
        for i in range(count):
            epoch, at_s = first + i, start_s + i * step_s
            inside = number + 1 + 2 * i
            lines.append(_line("begin", at_s, id=1000 + inside, path=f"{path}/epoch-{epoch}"))
            if path == "search":
                lines.append(_line("begin", at_s + 0.8 * step_s, id=2000 + inside, path=f"{path}/epoch-{epoch}/draw"))
                lines.append(
                    _line(
                        "end", at_s + 0.803 * step_s, id=2000 + inside, path=f"{path}/epoch-{epoch}/draw", failed=False
                    )
                )
            end_of_epoch_s = at_s + 0.82 * step_s
            lines.append(_line("end", end_of_epoch_s, id=1000 + inside, path=f"{path}/epoch-{epoch}", failed=False))
            lines.append(_line("begin", end_of_epoch_s, id=3000 + inside, path=f"{path}/evaluate"))
            lines.append(_line("end", at_s + 0.99 * step_s, id=3000 + inside, path=f"{path}/evaluate", failed=False))
            where = {"epoch": epoch, "stage": path}
            value = (
                0.93
                - 0.01 * run.recipe["seed"] * run.recipe["prune_ratio"]
                - 0.55 * math.exp(-epoch / 4)
                - (0.02 if path == "retrain" and i == 0 else 0)
            )
            lines.append(_line("metric", at_s + 0.99 * step_s, name="accuracy", value=value, where=where))
        if path == "search":
            lines.append(_line("mark", end_s - 0.001, name="ticket", values={"epoch": 11, "found": True}))
        lines.append(_line("end", end_s, id=number, path=path, failed=False))
        number += 2 * count
    lines.append(_line("stop", 234, status=run.status))
    (folder / "phases.jsonl").write_text("".join(lines))


def write_trace(
    folder: Path,
    spans: Tuple[Tuple[str, float, float], ...] = SPANS,
    rate_hz: float = 50.0,
    gap_s: Tuple[float, float] = (150.0, 158.0),
) -> None:
    """A trace of `spans` at `rate_hz` with noise, ripple within the epochs, and one gap."""
    time_s = np.arange(0, spans[-1][2], 1 / rate_hz)
    time_s = time_s[(time_s < gap_s[0]) | (time_s > gap_s[1])]
    power_w = np.zeros(len(time_s))
    for path, start_s, end_s in spans:
        power_w[(time_s >= start_s) & (time_s < end_s)] = POWER_W[path]
    noise = np.random.default_rng(7)
    power_w += np.where(power_w > 6, 1.2 * np.sin(2 * np.pi * time_s / 10), 0) + noise.normal(0, 0.25, len(time_s))
    writer = TraceWriter(
        RunDir(folder).trace("ina3221", 0),
        INFO,
        {"boot_id": BOOT, "rate_hz": rate_hz},
        clocks=lambda: ClockReading(0, 0, WALL_NS),
    )
    count = len(time_s)
    stamps_ns = (time_s * 1e9).astype(np.int64) + 1_000_000_000
    writer.extend(stamps_ns, np.full(count, 50_000), np.arange(count), power_w.reshape(-1, 1))
    writer.close()


def _line(event: str, at_s: float, **fields: Any) -> str:
    at_ns = round(at_s * 1e9)
    return json.dumps({"event": event, **fields, "t_ns": 1_000_000_000 + at_ns, "wall_ns": WALL_NS + at_ns}) + "\n"


def everything(root: Path) -> List[Path]:
    """A folder of runs of every kind: replicates, partial, missing, failed, simulated, not ended, damaged."""
    runs = [
        write_run(root / "dense-1", record(), traced=True),
        write_run(
            root / "dense-2", record("dense-vgg16-cifar10-s2-0a1b2c3e", recipe={"seed": 2}, energy=account(403e3))
        ),
        write_run(root / "eb-1", early_bird(), traced=True),
        write_run(
            root / "eb-2",
            early_bird(
                "eb-ff-vgg16-cifar10-p0.5-s2-4e5f6a7c",
                141.3e3,
                recipe={"seed": 2},
                accuracy={"final": 0.9277, "best": 0.9301},
            ),
        ),
        write_run(
            root / "eb-3",
            early_bird("eb-ff-vgg16-cifar10-p0.7-s1-99aabbcc", 96e3, recipe={"prune_ratio": 0.7}, accuracy=None),
        ),
    ]
    doubts = [
        Check(
            "longest gap",
            "WARN",
            0.004,
            0.001,
            "readings failed for a while; look at the gaps' reasons and mend the meter",
        ),
        Check(
            "thermal throttling",
            "FAIL",
            12.0,
            0.0,
            "the board slowed itself down; cool it, or choose a lower power mode",
        ),
        Check("meters agree", "NOT CHECKED", None, 0.05, "one meter of this scope only"),
    ]
    partial = account(
        120e3, covered_s=30000.0, status="partial", reason="no readings for 6000 s: the meter was gone", redone_j=2e3
    )
    runs.append(
        write_run(
            root / "reinit",
            early_bird(
                "eb-reinit-vgg16-cifar10-p0.5-s1-11223344",
                recipe={"method": "eb-reinit"},
                energy=partial,
                checks=doubts,
                verdict="FAIL",
            ),
        )
    )
    failed = early_bird(
        "eb-ff-vgg16-cifar10-p0.3-s1-deadbeef",
        9e3,
        recipe={"prune_ratio": 0.3},
        status="failed",
        reason="the loss became NaN at step 512",
    )
    runs.append(write_run(root / "failed", failed))
    sim_account = account(41.0, kind="simulated", reference={"meter": "sim", "rail": "total", "scope": "module"})
    simulated = early_bird(
        "eb-ff-small-synthetic-p0.5-s1-51515151",
        recipe={"model": "vgg16-small", "dataset": "synthetic"},
        kind="simulated",
        energy=sim_account,
        mask_distance_overhead={"draws": 11, "time_fraction": 2e-4, "energy_fraction": None, "kind": "simulated"},
    )
    runs.append(write_run(root / "simulated", simulated))
    (root / "not-ended").mkdir()
    (root / "not-ended" / "manifest.json").write_text("{}")
    damaged = write_run(root / "damaged", record("damaged-run"))
    (damaged / "record.json").write_text((damaged / "record.json").read_text()[:900])
    return runs
