"""How a run is called in a figure."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

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
    found = told_apart([label(run, names) for run in runs], [run.record.recipe for run in runs])
    return {
        run.number: f"{run.number}  {name}{f', energy {run.record.kind_text}' if mixed else ''}"
        for run, name in zip(runs, found)
    }


def told_apart(names: Sequence[str], recipes: Sequence[Mapping[str, Any]]) -> List[str]:
    """The names of runs with these recipes; those that are alike with the settings in which they differ."""
    alike: Dict[str, List[int]] = {}
    for number, name in enumerate(names):
        alike.setdefault(name, []).append(number)
    found = list(names)
    for name, members in alike.items():
        differing = [n for n in differing_settings([recipes[i] for i in members]) if n in TOLD_APART_BY]
        for i in members:
            found[i] = plain(name + settings_text(recipes[i], differing))
    return found


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
