from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from ebbench_reports.markup import Cell, Column, Section, Table, footnotes, ranges, to_html, to_latex, to_markdown

NASTY = '<script>alert(1)</script> & "quote" $x_1^2$ 50% #1 {a} \\evil ~ | `code` *b* [l](u) ± × – ε 漢\n\r\x00end'


class Outline(HTMLParser):
    """Checks that every element is closed in order; keeps the text and the tags."""

    VOID = {"meta", "link", "br", "img", "use", "path"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open[-1] == tag, (tag, self.open[-3:], self.getpos())
            self.open.pop()

    def handle_data(self, data):
        self.text += data


def table(text="402 ± 21", notes=("first", "second")):
    columns = (Column("name", "Name"), Column("value", "Energy (kJ)", number=True), Column("runs", "Runs"))
    row = {"name": Cell(text), "value": Cell("12.3 ± 0.4", notes), "runs": Cell("", runs=(1, 2, 3))}
    other = {"name": Cell("b", ("second",)), "value": Cell("–"), "runs": Cell("", runs=(7,))}
    sections = (Section(text, (row, other)), Section("", (other,)))
    return Table("t", text, text, columns, sections, text, (text,), ((1, text),))


def assert_latex_is_balanced(tex):
    tex = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}$&#%_]", "", tex)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[#%_^~]", re.sub(r"\\label\{[^}]*\}", "", bare))
    assert re.findall(r"\\begin\{(\w+)\}", tex) == list(reversed(re.findall(r"\\end\{(\w+)\}", tex)))
    assert tex.isascii()
    return bare


def test_markdown_has_as_many_cells_in_every_row():
    lines = [line for line in to_markdown(table(NASTY)).splitlines() if line.startswith("|")]
    assert len(lines) == 4 + 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


def test_the_rule_below_a_narrow_column_has_a_dash():
    narrow = Table("t", "T", "", (Column("p", "p", number=True),), (Section("", ({"p": Cell("–")},)),))
    assert "| --: |" in to_markdown(narrow)


def test_markdown_leaves_no_markup_of_a_text_alive():
    text = re.sub(r"`[^`]*`$", "", to_markdown(table(NASTY)), flags=re.MULTILINE)  # a code span is shown as it is
    assert "<script>" not in text
    assert "\\*b\\*" in text and "\\[l\\](u)" in text.replace("\\(", "(")


def test_latex_is_balanced_escaped_and_ascii():
    bare = assert_latex_is_balanced(to_latex(table(NASTY)))
    rows = [
        line for line in to_latex(table("plain")).splitlines() if line.endswith("\\\\") and "multicolumn" not in line
    ]
    assert {row.count(" & ") for row in rows} == {2}
    assert "toprule" in bare and "bottomrule" in bare


@given(st.text(max_size=60))
def test_any_text_stays_a_text_in_every_markup(text):
    assert_latex_is_balanced(to_latex(table(text)))
    outline = Outline(to_html(table(text)))
    assert "script" not in outline.tags
    lines = [line for line in to_markdown(table(text)).splitlines() if line.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) == 1


def test_latex_has_every_sign_that_the_tables_use():
    assert "?" not in to_latex(table("÷10 at 80 · 2 × 3 − 1 ± 0.1 µJ – ε ≤ … ≥"))


def test_html_shows_the_text_and_runs_nothing():
    outline = Outline(to_html(table(NASTY)))
    assert "script" not in outline.tags
    assert '<script>alert(1)</script> & "quote"' in outline.text


def test_every_note_has_one_letter_in_the_order_of_the_rows():
    assert footnotes(table()) == {"first": "a", "second": "b"}
    many = table(notes=tuple(str(i) for i in range(30)))
    assert list(footnotes(many).values())[25:28] == ["z", "aa", "ab"]


def test_runs_are_cited_as_ranges_and_linked_one_by_one():
    assert ranges([3, 1, 2, 7]) == "1–3, 7"
    assert ranges([4, 5]) == "4, 5"
    html = to_html(table())
    assert '<a href="#run-2">2</a>' in html
    assert "1–3" in to_markdown(table())


def test_two_hyphens_stay_two_in_latex():
    assert "ebbench run -{}-resume" in to_latex(table("ebbench run --resume"))


def test_no_line_breaks_within_an_option_of_the_page():
    table = Table(
        "t",
        "T",
        "",
        (Column("a", "A"),),
        (Section("", ({"a": Cell("give --idle & rest")},)),),
        notes=("WARN x. Give --train-images.",),
    )
    page = to_html(table)
    assert '<span class="option">--idle</span> &amp; rest' in page
    assert 'Give <span class="option">--train-images</span>.' in page
