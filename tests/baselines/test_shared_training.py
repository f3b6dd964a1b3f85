"""A run that takes its first training from another one ends with the same bits as one that trains it, whatever the method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ebbench import plugins
from ebbench.errors import UserError
from ebbench.protocols import Lending
from ebbench.sharing.first_training import alike, key_of, lender_first
from ebbench.testing import FakeContext
from ebbench.testing.context import Killed
from ebbench.training.draws import kept_name

EPOCHS = 4
#: so that the masks of noise settle: any two differ by less
SETTLES = {"epsilon": 0.9, "fifo_length": 1}


def conducted(recipe, folder, wanted=(), taken=None, **how):
    """The outcome and the context of a run."""
    context = FakeContext(due=False, lending=Lending(folder, tuple(wanted), taken), **how)
    return plugins.load(plugins.PIPELINES, recipe.method)(recipe).run(context), context


def stored(context):
    """The last checkpoint, as bytes by name and as JSON; of a training that is over, the momentum means nothing any more."""
    arrays, state = context.checkpoint
    is_over = '"stage": "train"' in state
    return {n: v.tobytes() for n, v in arrays.items() if not (is_over and n.startswith("momentum/"))}, state


@pytest.fixture
def method(recipe_of):
    def make(name, **settings):
        more = {"thinet_images": 20, "thinet_positions": 10} if name == "thinet" else {}
        more.update(SETTLES if name.startswith("eb-") and "draw" not in settings else {})
        return recipe_of(name, **{"epochs": EPOCHS, "batch_size": 10, **more, **settings})

    return make


PAIRS = [
    ("dense", "lt", {}),
    ("dense", "thinet", {}),
    ("lt", "dense", {}),
    ("thinet", "lt", {"draw": (2,)}),
    ("ns", "eb-ff", {}),
    ("ns", "eb-reinit", {"prune_ratio": 0.3}),
    ("ns", "eb-ff", {"prune_ratio": 0.7, "pairs": "reference"}),
    ("ns", "eb-ff", {"draw": (2, 3), "retrain_epochs": "full"}),
    ("ns", "eb-ff", {"draw": "best-accuracy", "retrain_epochs": "full"}),
    ("ns", "ns", {"prune_ratio": 0.3}),
    ("eb-wage", "eb-wage", {"draw": (1,)}),
    ("eb-ll", "eb-lf", {"draw": (2,)}),
]


#: seven epochs of which four are trained
CUT = {"epochs": 7, "measure_epochs": 3}
CUT_PAIRS = [
    ("dense", "lt", CUT),
    ("dense", "lt", {"draw": "best-accuracy", **CUT}),
    ("dense", "lt", {"draw": "best-accuracy", "evaluate_every": 6, **CUT}),
    ("lt", "dense", CUT),
    ("thinet", "lt", {"draw": (6,), **CUT}),
    ("lt", "thinet", {"draw": (3,), **CUT}),  # three of three: of it nothing is left out
    ("ns", "eb-ff", CUT),  # settles before it is cut
    ("ns", "eb-ff", {"ticket_epoch": 6, **CUT, "epsilon": 1e-9}),
    ("ns", "eb-ff", {"ticket_epoch": 2, **CUT, "epsilon": 1e-9}),
    ("ns", "eb-reinit", {"ticket_epoch": 6, "prune_ratio": 0.3, "pairs": "reference", **CUT, "epsilon": 1e-9}),
    ("ns", "eb-ff", {"draw": (4, 6), "retrain_epochs": "full", **CUT}),
    ("ns", "ns", {"prune_ratio": 0.3, **CUT}),
    ("eb-wage", "eb-wage", {"draw": (5,), **CUT}),
    ("eb-ll", "eb-lf", {"draw": (5,), **CUT}),
]


@pytest.mark.parametrize(("lends", "takes", "settings"), [*PAIRS, *CUT_PAIRS])
def test_taking_the_first_training_changes_no_bit_of_what_follows(lends, takes, settings, method, tmp_path):
    common = {name: settings[name] for name in (*CUT, "evaluate_every") if name in settings}
    lender = method(lends, **({"draw": "final"} if lends.startswith("eb-") else {}), **common)
    if "measure_epochs" in settings and takes.startswith("eb-") and not {"draw", "ticket_epoch"} & set(settings):
        settings = {**settings, "ticket_epoch": 6}
    taker = method(takes, **settings)
    assert alike(taker, [lender]) == [lender]
    _, lent = conducted(lender, tmp_path, wanted=[taker])
    _, alone = conducted(lender, tmp_path)
    assert stored(lent) == stored(alone)  # lending leaves no trace in the lender's own training
    taken = tmp_path / kept_name(taker)
    with_it, context = conducted(taker, tmp_path, taken=taken)
    without, reference = conducted(taker, tmp_path)
    assert stored(context) == stored(reference)
    if reference.masks is not None:
        for one, other in zip(context.masks, reference.masks):
            assert np.array_equal(one, other)
    assert with_it.flops == without.flops
    assert (with_it.accuracy, with_it.ticket, with_it.work) == (without.accuracy, without.ticket, without.work)
    assert context.paths.count("search") == reference.paths.count("search")


def test_a_search_at_every_ratio_is_in_one_training(method, tmp_path):
    searches = [method("eb-ff", prune_ratio=p, epsilon=0.2, fifo_length=1) for p in (0.2, 0.4, 0.6, 0.8)]
    conducted(method("ns"), tmp_path, wanted=searches)
    for recipe in searches:
        found, context = conducted(recipe, tmp_path, taken=tmp_path / kept_name(recipe))
        alone, reference = conducted(recipe, tmp_path)
        assert found.ticket == alone.ticket and stored(context) == stored(reference)
        assert context.paths.count("search/epoch-2/draw") == 1  # its checks are its own


@pytest.mark.parametrize("tickets", [(2, 3), (3, 2), (2, 6), (6, 2), (4, 6)])
def test_searches_that_assume_tickets_of_other_epochs_take_each_its_own(tickets, method, tmp_path):
    searches = [method("eb-ff", ticket_epoch=epoch, **CUT, epsilon=1e-9) for epoch in tickets]
    conducted(method("ns", **CUT), tmp_path, wanted=searches)
    for recipe in searches:
        _, context = conducted(recipe, tmp_path, taken=tmp_path / kept_name(recipe))
        _, reference = conducted(recipe, tmp_path)
        assert stored(context) == stored(reference)


def test_a_taker_trains_no_epoch_of_what_it_takes(method, tmp_path, monkeypatch):
    from ebbench.training.loop import Trainer

    taker = method("lt")
    conducted(method("dense"), tmp_path, wanted=[taker])
    stages = []
    steps = Trainer._train_steps
    monkeypatch.setattr(Trainer, "_train_steps", lambda self, l1: stages.append(self.state.stage) or steps(self, l1))
    conducted(taker, tmp_path, taken=tmp_path / kept_name(taker))
    assert stages == ["retrain"] * EPOCHS


@pytest.mark.parametrize("die_at", range(5, 160, 11))
def test_a_lender_that_is_killed_anywhere_lends_the_same(die_at, method, tmp_path):
    lender = method("ns")
    takers = [method("eb-ff"), method("ns", draw="best-accuracy"), method("eb-ff", draw=(1, 3))]
    pipeline = plugins.load(plugins.PIPELINES, "ns")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    pipeline(lender).run(FakeContext(lending=Lending(tmp_path / "whole", tuple(takers))))
    context = FakeContext(die_at, lending=Lending(tmp_path / "killed", tuple(takers)))
    try:
        pipeline(lender).run(context)
    except Killed:
        pipeline(lender).run(context.resumed())
    for taker in takers:
        with np.load(tmp_path / "whole" / kept_name(taker)) as one, np.load(
            tmp_path / "killed" / kept_name(taker)
        ) as other:
            assert set(one.files) == set(other.files)
            assert all(one[name].tobytes() == other[name].tobytes() for name in one.files)


@pytest.mark.parametrize("die_at", range(3, 60, 7))
def test_a_taker_that_is_killed_anywhere_ends_with_the_same_bits(die_at, method, tmp_path):
    taker = method("eb-ff", prune_ratio=0.3)
    conducted(method("ns"), tmp_path, wanted=[taker])
    lending = Lending(tmp_path, (), tmp_path / kept_name(taker))
    pipeline = plugins.load(plugins.PIPELINES, "eb-ff")
    whole = FakeContext(lending=lending)
    pipeline(taker).run(whole)
    context = FakeContext(die_at, lending=lending)
    with pytest.raises(Killed):
        pipeline(taker).run(context)
    context = context.resumed()
    pipeline(taker).run(context)
    assert stored(context) == stored(whole)


def test_what_does_not_begin_alike_is_not_shared(method):
    ns = method("ns")
    others = [
        method("ns", seed=2),
        method("ns", batch_size=12),
        method("ns", learning_rate=0.05),
        method("ns", l1=1e-5),
        method("ns", threads=2),
        method("ns", share_phases=False),
        method("ns", measure_epochs=3),
        method("eb-ff", search_rate=0.01),
        method("eb-wage"),
        *(method(name) for name in ("dense", "lt", "thinet", "snip", "sfp")),
    ]
    assert alike(ns, others) == []
    back, late = (method("ns", draw=draw, **CUT) for draw in ((2, 6), (4, 6)))
    assert alike(method("ns", **CUT), [back, late]) == [late] and key_of(back) is None
    assert alike(ns, [method("ns", l1=0.0)]) == [] and key_of(method("snip")) is None
    assert alike(method("dense"), [method("ns", l1=0.0)]) == [method("ns", l1=0.0)]


def test_the_longest_first_training_leads_its_group_and_the_others_keep_their_order(method):
    early, tenth, ns, dense, lt = (
        method("eb-ff"), method("eb-ff", draw=(1,)), method("ns"), method("dense"), method("lt")
    )  # fmt: skip
    assert lender_first([early, dense, tenth, ns, lt]) == [ns, early, dense, tenth, lt]
    second, sixth = (method("eb-ff", ticket_epoch=epoch, **CUT) for epoch in (2, 6))
    assert lender_first([second, sixth]) == [sixth, second]
    apart = [dataclasses.replace(recipe, share_phases=False) for recipe in (early, dense, tenth, ns, lt)]
    assert lender_first(apart) == apart


def test_what_was_kept_of_other_data_is_refused_with_a_way_out(method, tmp_path, noise):
    taker = method("lt")
    conducted(method("dense", train_images=10), tmp_path, wanted=[method("lt", train_images=10)])
    with pytest.raises(UserError, match="is of another data than this run would have; give --no-share"):
        conducted(taker, tmp_path, taken=tmp_path / kept_name(taker))
    (tmp_path / kept_name(taker)).write_bytes(b"torn")
    with pytest.raises(UserError, match=r"cannot be read .* give --no-share"):
        conducted(taker, tmp_path, taken=tmp_path / kept_name(taker))
