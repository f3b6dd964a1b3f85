"""What the pages for people say is there, is there."""

from __future__ import annotations

import ast
import re

import pytest

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
FORBIDDEN = re.compile(r"/root/|/home/\w|\bTODO\b|\bFIXME\b")


@pytest.fixture(scope="module")
def pages(checkout):
    found = [*checkout.glob("*.md"), *checkout.glob("docs/**/*.md")]
    found += [checkout / name / "README.md" for name in ("devices", "baselines", "reports")]
    return [page for page in found if page.exists()]


def test_every_link_leads_somewhere(pages):
    dead = [
        f"{page.name}: {link}"
        for page in pages
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert dead == []


def defined_in(path):
    """The functions, classes and methods (as ``Class.method``) of a Python file."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
            found |= {f"{node.name}.{each.name}" for each in ast.walk(node) if isinstance(each, ast.FunctionDef)}
    return found


def test_every_line_that_is_said_to_compute_a_number_is_there(checkout):
    rows = [
        line for line in (checkout / "docs" / "where.md").read_text(encoding="utf-8").splitlines() if ".py`" in line
    ]
    lacking = []
    for row in rows:
        names = None
        for said in re.findall(r"`([^`]+)`", row):
            if said.endswith(".py"):
                names = defined_in(checkout / said) if (checkout / said).exists() else {f"no file {said}"}
                lacking += [said] if not (checkout / said).exists() else []
            elif names is not None and said not in names:
                lacking.append(said)
    assert len(rows) > 25 and lacking == []


def test_no_page_speaks_of_the_machine_it_was_written_on(pages):
    said = [f"{page.name}: {found}" for page in pages for found in FORBIDDEN.findall(page.read_text(encoding="utf-8"))]
    assert said == []


def test_every_decision_has_its_parts(checkout):
    decisions = sorted((checkout / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in decisions] == [f"{n:04d}" for n in range(1, len(decisions) + 1)]
    for page in decisions:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]} ")
        for part in ("**Context.**", "**Decision.**", "**Why.**", "**Consequences.**"):
            assert part in text, page.name


def test_the_page_for_a_referee_names_every_phase(checkout):
    text = (checkout / "docs" / "measuring.md").read_text(encoding="utf-8")
    from ebbench.records import PHASE_NAMES

    for name in PHASE_NAMES:
        assert f"`{name}`" in text, name
