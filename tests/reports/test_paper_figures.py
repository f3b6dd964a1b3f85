from __future__ import annotations

import numpy as np
import pytest
from sample_runs import early_bird, record, write_run

from ebbench.rundir import RunDir
from ebbench.training.pruning.mask_file import save_masks
from ebbench_reports.collect import collect
from ebbench_reports.compare import differing_settings, settings_text
from ebbench_reports.figures.draws import accuracy_by_draw
from ebbench_reports.figures.labels import labels
from ebbench_reports.page import HtmlReport
from ebbench_reports.paper_figures import RATIOS, draw_panels, longest_searches, mask_distances

LAYERS = [40, 60]


def drawn(root, draw, ratio=0.5, seed=1, best=0.93, method="eb-ff", epoch=11, flops=5e15, **recipe):
    ticket = {"found": True, "epoch": epoch, "distances": [None, 0.2], "kept_channels": 1, "channels": 2}
    run = early_bird(
        f"{method}-{draw}-{ratio}-{seed}",
        recipe={
            "epochs": 160,
            "method": method,
            "draw": draw,
            "prune_ratio": ratio,
            "seed": seed,
            "retrain_epochs": "full",
            **recipe,
        },
        accuracy={"final": 0.9, "best": best, "top5_final": None},
        flops={"total": flops, "forward_dense": 6e8, "forward_pruned": 2e8},
        ticket=ticket,
    )
    return write_run(root / run.run_id.replace("/", "-"), run)


def panels(root, low_precision=False):
    return draw_panels(collect([root]).runs, low_precision=low_precision)


def test_a_point_is_the_mean_of_its_replicates_between_the_least_and_the_greatest(tmp_path):
    for seed, best in ((1, 0.92), (2, 0.93), (3, 0.946)):
        drawn(tmp_path, [10], seed=seed, best=best)
    drawn(tmp_path, "final", best=0.91)
    (panel,) = panels(tmp_path)
    (line,) = panel.lines
    first, last = line.points
    assert (first.epoch, first.accuracy, first.low, first.high) == (10, pytest.approx(0.932), 0.92, 0.946)
    assert (last.epoch, last.accuracy) == (160, 0.91)


def test_tickets_of_different_learning_rates_are_on_lines_of_their_own(tmp_path):
    for rate in (0.1, 0.5):
        for epoch in (10, 20):
            drawn(tmp_path, [epoch], seed=round(10 * rate), learning_rate=rate)
    (panel,) = panels(tmp_path)
    titles = [line.title.split(", ")[-1] for line in panel.lines]
    assert titles == ["learning_rate=0.1", "learning_rate=0.5"]
    assert [[point.epoch for point in line.points] for line in panel.lines] == [[10, 20], [10, 20]]


def test_the_star_stands_at_the_epoch_that_the_search_was_best_at(tmp_path):
    drawn(tmp_path, [10])
    drawn(tmp_path, "best-accuracy", epoch=121, best=0.94)
    (panel,) = panels(tmp_path)
    (star,) = [p for line in panel.lines for p in line.points if p.is_best]
    assert (star.epoch, star.accuracy, star.epochs) == (121, 0.94, (121, 121))


def test_the_bars_of_a_star_reach_from_the_first_to_the_last_epoch_at_which_a_replicate_was_best(tmp_path):
    drawn(tmp_path, [10])
    for seed, epoch in ((1, 60), (2, 160)):
        drawn(tmp_path, "best-accuracy", seed=seed, epoch=epoch)
    (panel,) = panels(tmp_path)
    (star,) = [p for line in panel.lines for p in line.points if p.is_best]
    assert (star.epoch, star.epochs) == (110, (60, 160))
    figure = accuracy_by_draw(collect([tmp_path]).runs, low_precision=False)
    (across, _) = [line.get_segments()[0] for line in figure.axes[0].collections][-2:]
    assert across[:, 0].tolist() == [60, 160]


def test_searches_of_low_precision_are_figure_2s(tmp_path):
    drawn(tmp_path, [10])
    drawn(tmp_path, [10], method="eb-wage")
    assert [line.title.split(",")[0] for line in panels(tmp_path)[0].lines] == ["EB Train (FF)"]
    assert [line.title.split(",")[0] for line in panels(tmp_path, low_precision=True)[0].lines] == [
        "EB Train (8-bit WAGE search)"
    ]


def test_tickets_that_the_search_chose_make_no_figure_1(tmp_path):
    write_run(tmp_path / "eb", early_bird())
    assert panels(tmp_path) == []


def test_both_lengths_of_retraining_are_lines_of_their_own_beside_network_slimming(tmp_path):
    for length, flops in (("full", 9e15), ("remaining", 6e15)):
        drawn(tmp_path, [10 if length == "full" else 20], flops=flops, retrain_epochs=length)
    write_run(
        tmp_path / "ns",
        early_bird(
            "ns",
            recipe={"method": "ns", "epochs": 160},
            flops={"total": 14e15, "forward_dense": 1, "forward_pruned": 1},
        ),
    )
    (panel,) = panels(tmp_path)
    assert [(line.title.split(", ")[1], line.points[0].flops) for line in panel.lines] == [
        ("retrained for 160 epochs", 9e15),
        ("retrained for the rest of 160 epochs", 6e15),
    ]
    assert panel.slimming_flops == {0.5: 14e15}


def searched(root, gamma, **ticket):
    whole = {
        "found": True,
        "epoch": 4,
        "distances": [None],
        "kept_channels": 50,
        "channels": 100,
        "layer_channels": LAYERS,
        **ticket,
    }
    run = write_run(root / "search", early_bird(ticket=whole, recipe={"fifo_length": 2}))
    save_masks(RunDir(run).masks, np.ones((len(gamma), 100), bool), range(1, len(gamma) + 1), gamma)
    return collect([root]).runs[0]


def test_masks_at_every_ratio_come_from_one_search(tmp_path):
    rng = np.random.default_rng(1)
    early = rng.random((2, 100)).astype(np.float32)
    gamma = np.concatenate([early, np.repeat(rng.random((1, 100)).astype(np.float32), 4, axis=0)])
    found = mask_distances(searched(tmp_path, gamma))
    assert [each.prune_ratio for each in found] == list(RATIOS)
    for each in found:
        assert each.matrix.shape == (6, 6) and not each.matrix.diagonal().any()
        assert not each.matrix[2:, 2:].any()  # the scales do not change any more
        # an independent truth: masks by sorting (no layer is emptied here)
        kept = [set(np.argsort(g, kind="stable")[int(100 * each.prune_ratio) :]) for g in gamma]
        assert each.matrix[0, 1] == pytest.approx(len(kept[0] ^ kept[1]) / 100)
        assert each.ticket_epoch == 5  # two distances of nothing: between epochs 3 and 4, 4 and 5


def test_of_searches_that_may_share_their_masks_the_longest_is_shown(tmp_path):
    for seed, lengths in ((1, (3, 9, 5)), (2, (4,))):
        for length in lengths:
            ticket = {"found": True, "epoch": length, "distances": [None] * length, "kept_channels": 1, "channels": 2}
            run = early_bird(f"s{seed}-{length}", recipe={"seed": seed}, ticket=ticket)
            write_run(tmp_path / run.run_id, run)
    found = longest_searches(collect([tmp_path]).runs)
    assert {run.record.run_id for run in found} == {"s1-9", "s2-4"}


def test_a_run_without_its_masks_or_with_damaged_ones_makes_no_matrix(tmp_path):
    write_run(tmp_path / "eb", early_bird())
    assert mask_distances(collect([tmp_path]).runs[0]) == []
    run = searched(tmp_path / "more", np.random.default_rng(2).random((3, 100)).astype(np.float32))
    RunDir(run.folder).masks.write_bytes(b"PK damaged")
    assert mask_distances(run) == []


def test_the_figures_are_drawn(tmp_path):
    runs = tmp_path / "runs"
    write_run(runs / "dense", record(recipe={"epochs": 160}))
    for draw in ([10], [40], "final", "best-accuracy"):
        drawn(runs, draw, epoch=120)
        drawn(runs, draw, method="eb-wage", epoch=120)
    searched(runs, np.random.default_rng(3).random((5, 100)).astype(np.float32))
    options = {"formats": ["svg"], "figures": ("figure-1", "figure-2", "figure-3", "figure-5")}
    names = {path.name for path in HtmlReport().render([runs], tmp_path / "out", options)}
    assert names == {"figure-1.svg", "figure-2.svg", "figure-3.svg", "figure-5.svg"}


def test_runs_that_differ_in_the_draw_alone_are_told_apart_in_every_figure(tmp_path):
    for number, draw in enumerate(([1], [4], "final")):
        write_run(tmp_path / str(number), early_bird(f"run-{number}", recipe={"draw": draw, "search_rate": None}))
    found = labels(collect([tmp_path]).runs)
    assert [text.split(", ", 1)[1] for _, text in sorted(found.items())] == [
        "p = 0.5, draw=1", "p = 0.5, draw=4", "p = 0.5, draw=final"
    ]  # fmt: skip


def test_what_was_not_set_is_not_said():
    recipes = [{"search_rate": None, "draw": [1, 2]}, {"search_rate": 0.01, "draw": [4]}]
    names = differing_settings(recipes)
    assert [settings_text(recipe, names) for recipe in recipes] == [", draw=[1, 2]", ", draw=4, search_rate=0.01"]
