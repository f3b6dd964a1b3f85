"""How a run is called in a figure."""

from __future__ import annotations

from typing import Dict, List, Sequence

from ebbench_reports.collect import Run, method_title, ratio_text
from ebbench_reports.compare import differing_settings, settings_text

#: settings that a label has room for, where nothing else tells two runs apart
TOLD_APART_BY = ("draw", "epochs", "learning_rate", "retrain_epochs", "search_rate")


def labels(runs: Sequence[Run]) -> Dict[int, str]:
    """How to call each run in a figure, by its number: its method, and of model, data, p, seed and draw what tells them apart."""
    names = [name for name in ("model", "dataset", "seed") if len({str(r.record.recipe.get(name)) for r in runs}) > 1]
    if len({run.record.recipe.get("model") for run in runs}) > 1 and "dataset" in names:
        names.remove("dataset")  # said by the model already, in all but the oddest reports
    mixed = len({run.record.kind_text for run in runs}) > 1
    found = {run.number: label(run, names) for run in runs}
    alike: Dict[str, List[Run]] = {}
    for run in runs:
        alike.setdefault(found[run.number], []).append(run)
    for members in alike.values():
        differing = [n for n in differing_settings([r.record.recipe for r in members]) if n in TOLD_APART_BY]
        for run in members:
            found[run.number] = plain(found[run.number] + settings_text(run.record.recipe, differing))
    return {
        run.number: f"{run.number}  {found[run.number]}{f', energy {run.record.kind_text}' if mixed else ''}"
        for run in runs
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
