"""The package as a user has it: built, installed elsewhere, and run from an empty folder."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).parents[1]
OURS = [
    *(".ci", "docs", "flags", "launch", "tests", "tfpoison"),
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
    *("MANIFEST.in", "pyproject.toml", "setup.cfg", "setup.py"),
]
BUILD_SDIST = "import setuptools.build_meta as backend; backend.build_sdist('.')"
FLAGS = [
    *("--flagfile=quickstart.flags", "--output_dir=run", "--trials=1", "--defenses=none"),
    *("--epochs=1", "--brew_steps=2", "--train_size=100", "--epsilon=8/255"),
    *("--clean_networks=0", "--surrogates=1", "--verbosity=-1"),
]


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def install(folder):
    """Makes the sdist, installs the wheel of it, and returns where."""
    source = folder / "source"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
    for name in OURS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    before = files_of(source)
    subprocess.run([sys.executable, "-c", BUILD_SDIST], cwd=source, check=True, capture_output=True)
    with tarfile.open(next(source.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "sdist", filter="data")
    unpacked = next((folder / "sdist").iterdir())
    assert before - files_of(unpacked) == set()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    # By way of a wheel.
    more = ["--no-build-isolation", "--target", folder / "site", unpacked]
    subprocess.run([*command, *more], check=True)
    return folder / "site"


def run(installed, *command):
    folder = installed.parent / "empty"
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package_is_whole_and_runs_from_an_empty_folder(tmp_path):
    """One test: it takes its time to build."""
    installed = install(tmp_path)
    package = files_of(installed / "tfpoison")
    assert {name for name in files_of(ROOT / "tfpoison") if "__pycache__" not in name} <= package
    assert {f"flags/{name}" for name in files_of(ROOT / "flags")} <= package
    command = str(installed / "bin" / "tfpoison")
    assert run(installed, command, *FLAGS) == ""
    configuration = (installed.parent / "empty/run/config.flags").read_text()
    assert f"--epsilon={8 / 255}\n" in configuration
    for module in ("tfpoison", "tfpoison.launch"):
        assert run(installed, sys.executable, "-m", module, "--version").startswith("tfpoison ")
