"""Every FLOPs figure of the published tables, one by one: reproduced as closely as stated, or listed with the reason why not."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

import pytest

import ebbench_reports
from ebbench.training.counting.flops import Training, document
from ebbench.training.counting.forward_cost import PAPER, forward_cost, paper_rounded
from ebbench.training.models import SELECT, empty_model
from ebbench.training.pruning.widths import fewer, uniform_widths

PAPER_FOLDER = Path(ebbench_reports.__file__).parent / "paper"


def read(name):
    with open(PAPER_FOLDER / name, newline="") as file:
        return {(r["model"], r["dataset"], r["method"], r["prune_ratio"]): r for r in csv.DictReader(file)}


PUBLISHED = {**read("table2.csv"), **read("table3.csv")}
SETTINGS = read("flops.csv")


def settings_of(row):
    """The options of `ebbench flops` for a row of flops.csv."""
    found = {name: row[name] for name in ("retrain_epochs", "widths") if row[name]}
    numbers = {"ticket_epoch": int, "prune_ratio": float}
    found.update({name: kind(row[name]) for name, kind in numbers.items() if row[name]})
    forwards = {"dense_forward": "dense_forward_gflops", "pruned_forward": "pruned_forward_gflops"}
    found.update({name: float(row[column]) for name, column in forwards.items() if row[column]})
    return found


@functools.lru_cache(maxsize=None)
def total_p(row):
    """Our total (P) by the paper's convention."""
    settings = settings_of(SETTINGS[row])
    return document(Training(*row[:3], convention=PAPER, **settings))["total_flops"] / 1e15


def test_every_published_row_is_accounted_for():
    assert len(PUBLISHED) == 96 + 13
    assert set(SETTINGS) == set(PUBLISHED)
    assert all(row["basis"] for row in SETTINGS.values())
    not_reproduced = [key for key, row in SETTINGS.items() if not row["within_percent"]]
    assert len(not_reproduced) == 23
    assert {key[2] for key in not_reproduced} == {"eb-lf", "eb-ll", "eb-reinit"}


@pytest.mark.parametrize("row", [key for key, row in SETTINGS.items() if row["within_percent"]], ids="-".join)
def test_a_published_total_is_reproduced_as_closely_as_stated(row):
    published = float(PUBLISHED[row]["flops_p"])
    assert 100 * abs(total_p(row) / published - 1) <= float(SETTINGS[row]["within_percent"])


def test_what_is_said_to_fit_without_a_parameter_has_none_but_those_of_other_papers():
    for row in SETTINGS.values():
        if row["basis"].startswith("nothing is fitted") and row["method"] not in ("thinet", "sfp"):
            assert not row["pruned_forward_gflops"] and not row["ticket_epoch"]


def test_the_row_that_is_called_impossible_is():
    impossible, ff = ("vgg16", "cifar10", "eb-reinit", "0.7"), ("vgg16", "cifar10", "eb-ff", "0.7")
    assert float(PUBLISHED[impossible]["flops_p"]) < float(PUBLISHED[ff]["flops_p"])
    assert total_p(impossible) == pytest.approx(10.78, abs=0.005)
    assert total_p(impossible) > 1.13 * float(PUBLISHED[impossible]["flops_p"])


def one_inner_width(model, ratio):
    """Uniform, but of the first of the two inner convolutions of each block alone."""
    inner = [i for i, entry in enumerate(model.channels()) if entry.norms and entry.stream is None]
    return tuple(fewer(w, ratio) if i in inner[::2] else w for i, w in enumerate(model.widths))


@pytest.mark.parametrize(
    ("ratio", "widths"),
    [
        (0.3, one_inner_width),
        (0.5, uniform_widths),
        (0.7, lambda model, ratio: uniform_widths(model, ratio, residual=SELECT)),
    ],
)
def test_thinets_forwards_on_preresnet101_follow_from_what_the_row_says_is_pruned(ratio, widths):
    model = empty_model("preresnet101", 10)
    cost = forward_cost(empty_model("preresnet101", 10, widths(model, ratio)))
    stated = float(SETTINGS["preresnet101", "cifar10", "thinet", str(ratio)]["pruned_forward_gflops"])
    assert paper_rounded(cost.counter_flops) == round(stated * 1e9)
