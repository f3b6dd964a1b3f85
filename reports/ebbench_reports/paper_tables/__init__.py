"""Tables 1 to 4 of the paper in its own form, from our runs; with the published values beside ours if wanted."""

from ebbench_reports.paper_tables.places import draw_epoch
from ebbench_reports.paper_tables.table import form_of, has_runs, paper_table, paper_table_csv

__all__ = ["draw_epoch", "form_of", "has_runs", "paper_table", "paper_table_csv"]
