"""Whether the raw files of a sealed run are still those that its record was made of."""

from __future__ import annotations

import dataclasses

from ebbench.records import FAIL, NOT_CHECKED, PASS, Check, RunRecord, worst
from ebbench.rundir import RunDir, sha256_of

CHECK = "raw files as sealed"


def compared(rundir: RunDir, record: RunRecord) -> RunRecord:
    """The record with one check more: the SHA-256 of every raw file against the one that was sealed."""
    check = _check(rundir, record)
    checks = [*record.checks, check]
    return dataclasses.replace(record, checks=checks, verdict=worst([each.verdict for each in checks]))


def _check(rundir: RunDir, record: RunRecord) -> Check:
    there = {name: digest for name, digest in record.files.items() if (rundir.path / name).is_file()}
    changed = [name for name, digest in there.items() if sha256_of(rundir.path / name) != digest]
    gone = [name for name in record.files if name not in there]
    not_here = f"not here: {', '.join(gone) or 'any raw file'}"
    if changed:
        why = f"changed since the record was made: {', '.join(changed)}; restore them from a copy"
        return Check(CHECK, FAIL, float(len(changed)), 0.0, f"{why}; {not_here}" if gone else why)
    if gone or not there:
        return Check(CHECK, NOT_CHECKED, None, 0.0, not_here)
    return Check(CHECK, PASS, 0.0, 0.0, "")
