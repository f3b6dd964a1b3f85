"""The LaTeX in the hands of LaTeX itself, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from sample_runs import everything

from ebbench_reports.page import HtmlReport

PAPER = r"""
\documentclass[a4paper]{article}
\usepackage{booktabs,graphicx}
\begin{document}
\input{%s}
\end{document}
"""

pytestmark = pytest.mark.skipif(
    shutil.which("pdflatex") is None
    or subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode != 0,
    reason="NO LATEX ON THIS MACHINE: tables were not compiled (Debian: texlive-latex-recommended)",
)


@pytest.mark.parametrize("options", [{}, {"compare_paper": True}, {"tables": (1, 2, 3, 4)}])
def test_every_table_compiles_and_none_is_wider_than_a_line(tmp_path, options):
    everything(tmp_path / "runs")
    files = HtmlReport().render([tmp_path / "runs"], tmp_path / "out", {"formats": ["tex"], **options})
    assert len(files) >= 2
    for file in files:
        (tmp_path / "paper.tex").write_text(PAPER % file.relative_to(tmp_path))
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
        printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert printed.returncode == 0, (file.name, printed.stdout[-800:])
        # the table is one box in a paragraph; of the words around it a line may be a little long
        assert re.findall(r"Overfull \\hbox \((\d+)", printed.stdout) == [], file.name
