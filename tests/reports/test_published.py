from __future__ import annotations

import csv

import pytest

from ebbench_reports.published import FOLDER, canonical, doubt, improvement, published

HEADLINE = ("vgg16", "cifar100", "0.5")  # does not follow from the paper's own table
BY_SNIP = ("vgg16", "cifar10", "0.3")  # ThiNet's energy is impossible there, and the paper left it out


def by_ratio():
    found = {}
    for each in published(2):
        key = (each.place["model"], each.place["dataset"], each.place["prune_ratio"])
        found.setdefault(key, {})[each.place["method"]] = each.values
    return found


@pytest.mark.parametrize("key", list(by_ratio()))
def test_the_rule_gives_the_papers_row_of_improvements_from_its_own_table(key):
    methods = by_ratio()[key]
    printed = methods.pop("improvement")
    if key == BY_SNIP:
        methods["thinet"] = {**methods["thinet"], "energy": 1e9}
    ours = improvement(methods)
    assert ours["accuracy"] == pytest.approx(printed["accuracy"], abs=0.005)
    assert ours["flops"] == pytest.approx(printed["flops"], abs=0.06)
    if key == HEADLINE:
        assert printed["energy"] == 10.7 and ours["energy"] == pytest.approx(8.35, abs=0.005)
    else:
        assert ours["energy"] == pytest.approx(printed["energy"], abs=0.06)


def test_an_improvement_over_baselines_of_which_one_is_missing_is_not_given():
    methods = dict(next(iter(by_ratio().values())))
    del methods["ns"]
    assert set(improvement(methods).values()) == {None}


def test_every_table_has_the_cells_of_the_paper():
    assert {number: len(published(number)) for number in (1, 2, 3, 4)} == {1: 32, 2: 108, 3: 13, 4: 32}
    assert {"accuracy", "top1_gain", "top5", "top5_gain", "flops", "energy"} == set().union(
        *(p.values for p in published(3))
    )


def test_a_value_is_kept_as_printed():
    (snip,) = [
        p
        for p in published(2)
        if p.place == {"model": "vgg16", "dataset": "cifar10", "method": "snip", "prune_ratio": "0.3"}
    ]
    assert snip.texts == {"accuracy": "93.20", "energy": "373.1", "flops": "15.1"}


def test_every_doubt_is_about_a_value_that_is_there():
    with open(FOLDER / "doubts.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        named = {k: canonical(v) for k, v in line.items() if k not in ("doubt", "measure", "table") and v}
        places = [p for p in published(int(line["table"])) if named.items() <= p.place.items()]
        measures = {m for p in places for m in p.values}
        assert places and (not line["measure"] or line["measure"] in measures), line


def test_the_impossible_energies_are_doubted_and_the_others_are_not():
    thinet = {"model": "vgg16", "dataset": "cifar10", "method": "thinet"}
    assert "below the dense training" in doubt(2, {**thinet, "prune_ratio": "0.3"}, "energy")
    assert doubt(2, {**thinet, "prune_ratio": "0.5"}, "energy") is None
    assert doubt(2, {**thinet, "prune_ratio": "0.3"}, "flops") is None
