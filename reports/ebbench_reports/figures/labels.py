"""How a run is called in a figure."""

from __future__ import annotations

from typing import Dict, Sequence

from ebbench_reports.collect import Run, method_title, ratio_text


def labels(runs: Sequence[Run]) -> Dict[int, str]:
    """How to call each run in a figure, by its number: its method, and of model, data, p and seed what tells them apart."""
    names = [name for name in ("model", "dataset", "seed") if len({str(r.record.recipe.get(name)) for r in runs}) > 1]
    if len({run.record.recipe.get("model") for run in runs}) > 1 and "dataset" in names:
        names.remove("dataset")  # said by the model already, in all but the oddest reports
    mixed = len({run.record.kind_text for run in runs}) > 1
    return {
        run.number: f"{run.number}  {label(run, names)}{f', {run.record.kind_text}' if mixed else ''}" for run in runs
    }


def label(run: Run, names: Sequence[str]) -> str:
    """A run by its method, its prune ratio and the settings of these names."""
    recipe = run.record.recipe
    if not recipe.get("method"):
        return plain(run.record.run_id)
    words = [method_title(recipe["method"])]
    words += [] if recipe["method"] == "dense" else [f"p = {ratio_text([run])}"]
    words += [f"seed {recipe.get(name)}" if name == "seed" else str(recipe.get(name)) for name in names]
    return plain(", ".join(words))


def plain(text: str, length: int = 60) -> str:
    """Short, in letters that the font has, and with no mathematics between two $."""
    text = "".join(c if c.isprintable() and ord(c) < 0x530 else "?" for c in text)
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", "\\$")
