"""What the pages for people say is there, is there."""

from __future__ import annotations

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


def test_the_page_for_a_referee_names_every_check_and_every_phase(checkout):
    text = (checkout / "docs" / "measuring.md").read_text(encoding="utf-8")
    from ebbench.records import PHASE_NAMES

    for name in PHASE_NAMES:
        assert f"`{name}`" in text, name
