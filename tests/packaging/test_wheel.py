from __future__ import annotations

import email
import shutil
import zipfile

import pytest

PACKAGES = {
    "ebbench": "ebbench",
    "ebbench_devices": "devices/ebbench_devices",
    "ebbench_baselines": "baselines/ebbench_baselines",
    "ebbench_reports": "reports/ebbench_reports",
}
SUFFIXES = (".py", ".c", ".so", ".toml", ".json", ".csv", ".typed", ".html", ".css", ".svg")


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def is_payload(name: str) -> bool:
    return ".dist-info/" not in name


def test_nothing_but_the_four_packages_lands_in_site_packages(names):
    assert {name.split("/")[0] for name in names if is_payload(name)} == set(PACKAGES)


def test_the_wheel_is_exactly_the_sources(names, checkout):
    sources = {
        f"{package}/{path.relative_to(checkout / folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in (checkout / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if is_payload(name)} == sources


def test_every_file_of_the_wheel_is_the_sources_to_the_byte(wheel, names, checkout):
    with zipfile.ZipFile(wheel) as archive:
        for name in filter(is_payload, names):
            package, _, inside = name.partition("/")
            assert archive.read(name) == (checkout / PACKAGES[package] / inside).read_bytes(), name


def test_the_wheel_holds_code_and_data_and_no_leftovers(names):
    assert [name for name in names if is_payload(name) and not name.endswith(SUFFIXES)] == []


@pytest.mark.parametrize(
    "name",
    ["ebbench/py.typed", "ebbench/schema/record-1.json", "ebbench/schema/integrate-1.json", "ebbench/cli/__init__.py"],
)
def test_the_wheel_holds(names, name):
    assert name in names


def test_where_there_is_a_c_compiler_the_wheel_holds_the_compiled_sweeps_for_this_machine_and_else_is_for_any(
    wheel, names
):
    compiled = "ebbench/energy/sampler_process/_sweeps.so" in names
    assert compiled == (shutil.which("cc") is not None)
    with zipfile.ZipFile(wheel) as archive:
        (described,) = [name for name in names if name.endswith(".dist-info/WHEEL")]
        tag = email.message_from_bytes(archive.read(described))["Tag"]
    assert tag.startswith("py3-none-") and (tag == "py3-none-any") == (not compiled)


@pytest.mark.parametrize("folder", ["ebbench_devices/boards/", "ebbench_baselines/experiments/"])
def test_the_wheel_holds_the_data_files_of(names, folder):
    assert [name for name in names if name.startswith(folder) and name.endswith(".toml")]


def test_the_licence_travels_with_the_wheel(wheel, names):
    assert [name for name in names if ".dist-info/" in name and name.endswith("LICENSE")]
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        message = email.message_from_bytes(archive.read(metadata))
    assert message["License"] == "MIT"
    assert message["Requires-Python"] == ">=3.8"
