"""The figures of a report: the one place that knows matplotlib."""

from ebbench_reports.figures.draws import accuracy_by_draw, flops_by_draw
from ebbench_reports.figures.energy import MAX_BARS, energy
from ebbench_reports.figures.epochs import MAX_CURVES, accuracy, distances
from ebbench_reports.figures.look import render, style
from ebbench_reports.figures.matrices import distance_matrices
from ebbench_reports.figures.power import power
from ebbench_reports.figures.tradeoff import tradeoff

__all__ = [
    "MAX_BARS",
    "MAX_CURVES",
    "accuracy",
    "accuracy_by_draw",
    "distance_matrices",
    "distances",
    "energy",
    "flops_by_draw",
    "power",
    "render",
    "style",
    "tradeoff",
]
