"""A table in Markdown, LaTeX and HTML. Every text is escaped here and nowhere else."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench.quantity import FIGURE_SPACE, PUNCTUATION_SPACE


@dataclass(frozen=True)
class Column:
    """A column's key, its heading, and whether it holds numbers (aligned by their points)."""

    key: str
    title: str
    number: bool = False
    code: bool = False


@dataclass(frozen=True)
class Cell:
    """A text, its footnotes, the runs that it leads back to, and a word (`PASS`, ...) that the page may colour."""

    text: str
    notes: Tuple[str, ...] = ()
    runs: Tuple[int, ...] = ()
    badge: Optional[str] = None


@dataclass(frozen=True)
class Section:
    """Rows under a heading of their own; only rows of one section may be compared."""

    title: str
    rows: Tuple[Mapping[str, Cell], ...]


@dataclass(frozen=True)
class Table:
    """A table as text, before any markup. `banner` is shouted above it; `notes` stand below."""

    name: str
    title: str
    caption: str
    columns: Tuple[Column, ...]
    sections: Tuple[Section, ...]
    banner: str = ""
    notes: Tuple[str, ...] = ()
    #: what the run numbers stand for
    sources: Tuple[Tuple[int, str], ...] = ()


def footnotes(table: Table) -> Dict[str, str]:
    """Every note of the cells once, in the order of the rows, with its letter: ``{note: "a"}``."""
    found: Dict[str, str] = {}
    for section in table.sections:
        for row in section.rows:
            for column in table.columns:
                for note in row[column.key].notes:
                    found.setdefault(note, _letter(len(found)))
    return found


def to_markdown(table: Table) -> str:
    """GitHub's Markdown, readable as plain text too."""
    marks = footnotes(table)
    lines = [f"# {_md(table.title)}", ""]
    if table.banner:
        lines += [f"> **{_md(table.banner)}**", ""]
    lines += [_md(table.caption), ""]
    for section in table.sections:
        lines += ([f"## {_md(section.title)}", ""] if section.title else []) + _md_grid(
            table.columns, section.rows, marks
        )
        lines.append("")
    lines += [f"- ({letter}) {_md(note)}" for note, letter in marks.items()]
    lines += [f"- {_md(note)}" for note in table.notes]
    if table.sources:
        lines += (
            ([""] if lines[-1] else [])
            + ["Runs:", ""]
            + [f"{number}. `{_one_line(run_id).replace('`', '')}`" for number, run_id in table.sources]
        )
    return "\n".join(lines).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """A ``table`` environment for a paper that has ``\\usepackage{booktabs,graphicx}``; ASCII only, no wider than a line."""
    marks = footnotes(table)
    layout = "".join("r" if c.number else "l" for c in table.columns)
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{_caption_tex(table)}}}",
        f"  \\label{{tab:{re.sub('[^a-z0-9-]', '-', table.name.lower())}}}",
        "  \\par\\medskip\\footnotesize\\setlength{\\tabcolsep}{4pt}",
        f"  {_NO_WIDER_THAN_A_LINE}{{\\begin{{tabular}}{{{layout}}}",
        "    \\toprule",
        "    " + " & ".join(_tex(c.title) for c in table.columns) + " \\\\",
    ]
    for section in table.sections:
        lines.append("    \\midrule")
        if section.title:
            lines.append(f"    \\multicolumn{{{len(table.columns)}}}{{l}}{{\\emph{{{_tex(section.title)}}}}} \\\\")
        for row in section.rows:
            lines.append("    " + " & ".join(_tex_cell(row[c.key], marks) for c in table.columns) + " \\\\")
    lines += ["    \\bottomrule", "  \\end{tabular}}"]
    notes = [f"\\textsuperscript{{{letter}}}{_tex(note)}" for note, letter in marks.items()]
    notes += [_tex(note) for note in table.notes]
    lines += [f"  \\par\\smallskip\\raggedright {note}" for note in notes]
    lines += ["\\end{table}"] + [f"% run {number}: {_one_line(run_id)}" for number, run_id in table.sources]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """A ``<figure>`` with the table, for a page with the style sheet ``page.css``; runs link to ``#run-N``."""
    marks = footnotes(table)
    head = "".join(f'<th scope="col"{_align(c)}>{_html_title(c.title)}</th>' for c in table.columns)
    parts = [f'<figure class="table" id="{as_html(table.name)}">']
    if table.banner:
        parts.append(f'<p class="banner">{as_html(table.banner)}</p>')
    parts.append(f"<figcaption><strong>{as_html(table.title)}.</strong> {as_html(table.caption)}</figcaption>")
    parts.append(f'<div class="scroll"><table><thead><tr>{head}</tr></thead>')
    for section in table.sections:
        parts.append("<tbody>")
        if section.title:
            span = len(table.columns)
            parts.append(
                f'<tr class="section"><th scope="rowgroup" colspan="{span}">{as_html(section.title)}</th></tr>'
            )
        for row in section.rows:
            parts.append("<tr>" + "".join(_html_cell(c, row[c.key], marks) for c in table.columns) + "</tr>")
        parts.append("</tbody>")
    parts.append("</table></div>")
    notes = [f"<li><sup>{letter}</sup> {as_html(note)}</li>" for note, letter in marks.items()]
    notes += [f"<li>{_html_note(note)}</li>" for note in table.notes]
    parts.append(f'<ul class="notes">{"".join(notes)}</ul>' if notes else "")
    return "\n".join(part for part in parts if part) + "\n</figure>\n"


def _letter(index: int) -> str:
    """a to z, then aa, ab and so on."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def _one_line(text: str) -> str:
    """Without line breaks and other control characters."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split(" "))


def _padding(text: str, figure: str, point: str) -> str:
    return text.replace(FIGURE_SPACE, figure).replace(PUNCTUATION_SPACE, point)


def _citation(cell: Cell) -> str:
    return ranges(cell.runs) if cell.runs else cell.text


def ranges(numbers: Sequence[int]) -> str:
    """``1–3, 7``."""
    parts: List[List[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}{', ' if len(p) == 2 else '–'}{p[-1]}" for p in parts)


# Markdown


def _md(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", _one_line(text)).replace("<", "&lt;")


def _md_grid(columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]], marks: Mapping[str, str]) -> List[str]:
    grid = [[_md(c.title) for c in columns]] + [[_md_cell(row[c.key], marks) for c in columns] for row in rows]
    widths = [
        max(3, *(len(line[i]) for line in grid)) for i in range(len(columns))
    ]  # the rule below a heading needs a dash
    rule = ["-" * (w - 1) + ":" if c.number else "-" * w for c, w in zip(columns, widths)]
    pad: Callable[[str, int, Column], str] = lambda text, w, c: text.rjust(w) if c.number else text.ljust(w)  # noqa: E731
    lines = ["| " + " | ".join(pad(t, w, c) for t, w, c in zip(line, widths, columns)) + " |" for line in grid]
    return [lines[0], "| " + " | ".join(rule) + " |", *lines[1:]]


def _md_cell(cell: Cell, marks: Mapping[str, str]) -> str:
    text = _md(_padding(_citation(cell), " ", " "))
    return text + "".join(f" ({marks[note]})" for note in cell.notes)


# LaTeX

#: before a box: smaller where it is wider than a line, else as it is
_NO_WIDER_THAN_A_LINE = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}"
_TWO_HYPHENS = "\ue000"  # of the private use area; LaTeX would draw two hyphens as a dash
_TEX = {
    _TWO_HYPHENS: "-{}-",
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_",
    "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "<": "\\textless{}", ">": "\\textgreater{}",
    "±": "$\\pm$", "×": "$\\times$", "÷": "$\\div$", "−": "$-$", "–": "--", "—": "---", "…": "\\ldots{}", "µ": "$\\mu$",
    "ε": "$\\epsilon$",
    "·": "$\\cdot$", "≤": "$\\le$", "≥": "$\\ge$", FIGURE_SPACE: "\\phantom{0}", PUNCTUATION_SPACE: "\\phantom{.}", '"': "''",
}  # fmt: skip


def _tex(text: str) -> str:
    escaped = "".join(
        _TEX.get(c) or (c if c.isascii() else _ascii(c)) for c in _one_line(text).replace("--", _TWO_HYPHENS)
    )
    return escaped.replace("`", "'")


def _ascii(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_TEX.get(c, c) for c in plain) or "?"


def _tex_cell(cell: Cell, marks: Mapping[str, str]) -> str:
    notes = ",".join(marks[note] for note in cell.notes)
    return _tex(_citation(cell)) + (f"\\textsuperscript{{{notes}}}" if notes else "")


def _caption_tex(table: Table) -> str:
    banner = f"\\textbf{{{_tex(table.banner)}}} " if table.banner else ""
    return f"{banner}{_tex(table.title)}. {_tex(table.caption)}"


# HTML


def as_html(text: str) -> str:
    """`text` as it stands in a page: escaped, and a blank for every control character."""
    return html.escape(_one_line(text), quote=True)


def _align(column: Column) -> str:
    return ' class="number"' if column.number else ""


def _html_title(title: str) -> str:
    """A heading with its unit on a line of its own: ``Energy (kJ)``."""
    name, _, unit = title.partition(" (")
    return f'{as_html(name)} <span class="unit">{as_html(unit[:-1])}</span>' if unit else as_html(name)


def _badge(word: str, text: str) -> str:
    return f'<span class="badge {re.sub("[^a-z]", "-", word.lower())}">{as_html(text)}</span>'


def _html_note(note: str) -> str:
    """A finding begins with its verdict, which is shown as in the table."""
    word, _, rest = note.partition(" ")
    return f"{_badge(word, word)} {_html_text(rest)}" if word in ("FAIL", "WARN") else _html_text(note)


def _html_text(text: str) -> str:
    """A sentence, in which no line breaks within an option such as ``--train-images``."""
    return re.sub(r"--[a-z][a-z-]*", r'<span class="option">\g<0></span>', as_html(text))


def _html_cell(column: Column, cell: Cell, marks: Mapping[str, str]) -> str:
    if cell.runs:
        text = ", ".join(f'<a href="#run-{n}">{n}</a>' for n in cell.runs)
    elif cell.badge:
        text = _badge(cell.badge, cell.text)
    elif column.code:
        text = f"<code>{as_html(cell.text)}</code>"
    else:
        text = _html_text(cell.text)
    notes = ",".join(marks[note] for note in cell.notes)
    return f"<td{_align(column)}>{text}{f'<sup>{notes}</sup>' if notes else ''}</td>"
