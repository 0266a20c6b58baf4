"""What a person is told who asks."""

import subprocess
import sys
import time

import pytest

from tfpoison import __version__, launch
from tfpoison.cli import help
from tfpoison.cli.groups import GROUPS
from tfpoison.cli.jobs import JOBS
from tfpoison.registry import load
from tfpoison.settings import declared


def shown(capsys, *arguments):
    assert launch.main(arguments) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    return text


def test_the_overview_is_short_and_names_the_jobs(capsys):
    text = shown(capsys, "--help")
    assert len(text.splitlines()) < 30
    assert [job for job in JOBS if f"  {job} " not in text] == []
    assert "quickstart.flags" in text and "--help=NAME" in text


@pytest.mark.parametrize("job", JOBS)
def test_the_help_of_a_job_shows_its_flags_in_their_groups(job, capsys):
    text = shown(capsys, f"--job={job}", "--help")
    for key, flags in JOBS[job].flags().items():
        part = text.split(f"\n{GROUPS[key].title}\n")[1].split("\n\n")[0]
        assert [name for name in flags if f"  --{name}" not in part] == []


def test_every_flag_is_some_jobs():
    everything = {name for group in GROUPS.values() for name in group.flags()}
    assert everything == {
        n for job in JOBS.values() for flags in job.flags().values() for n in flags
    }


def test_every_setting_with_a_flag_has_one_flag():
    """No field that is declared as a setting is left out, but the selection of the recipe."""
    for settings in {group.settings for group in GROUPS.values()}:
        names = [
            field.name
            for group in GROUPS.values()
            if group.settings is settings
            for field in group.flags().values()
        ]
        missing = {field.name for field in declared(settings)} - set(names)
        assert (len(names), missing <= {"selection"}) == (len(set(names)), True)


def test_texts_choices_and_defaults_come_from_the_fields(capsys):
    text = shown(capsys, "--job=train", "--help")
    assert "--epochs                      Epochs. [10]" in text
    assert "One of: constant, steps, cosine, triangle. [constant]" in " ".join(text.split())


def test_version(capsys):
    assert shown(capsys, "--version") == f"tfpoison {__version__}\n"


NAMED = {
    "patch": ["Attack: --defense=patch", "arXiv 2102.13624, section 3", "patch_size=None"],
    "mixup": ["Defense: --defense=mixup", "arXiv 1710.09412", "ways="],
    "gradient_matching": ["Recipe: --recipes=gradient_matching", "arXiv 2009.02276", "steps=250"],
    "bullseye": ["arXiv 2005.00191", "epsilon=16/255", "restarts=8", "Brewings, of which"],
    "shift_flip": ["Augmentation: --augmentation=shift_flip"],
    "transfer": ["Scenario: --scenarios=transfer", "a new last layer trains"],
    "--epochs": ["Training", "--epochs                      Epochs. [10]"],
    "benchmark": ["measures what a defended step costs", "--benchmark_steps"],
    "quickstart": ["--flagfile=quickstart.flags", "A poisoning that works, and the defense"],
}


@pytest.mark.parametrize("name", NAMED)
def test_whatever_has_a_name_is_explained(name, capsys):
    text = shown(capsys, f"--help={name}")
    assert [part for part in NAMED[name] if part not in text] == []


def test_a_name_that_is_nearly_right_is_suggested(capsys):
    assert launch.main(["--help=bullseyes"]) == 2
    assert "Did you mean 'bullseye'?" in capsys.readouterr().err


@pytest.mark.parametrize("table", help._FAMILIES)
def test_every_part_says_what_it_is(table):
    for name in load(table):
        lines = [line for line in help.of_name(name).splitlines() if line.startswith("  ")]
        assert lines and len(lines[0]) > 12


QUICK = [
    *("--help", "--version", "--eppochs=3", "--flagfile=nothing", "--job=report --output_dir=no"),
    *(f"--job={job} --help" for job in JOBS),
]
SCRIPT = f"""
import sys
from tfpoison.launch import main
codes = [main(line.split()) for line in {QUICK!r}]
print(codes, *sorted({{name.partition(".")[0] for name in sys.modules}}), file=sys.stderr)
"""
HEAVY = {"tensorflow", "keras", "sklearn", "scipy", "matplotlib", "PIL", "tensorflow_datasets"}


def test_asking_and_mistyping_import_nothing_heavy():
    started = time.monotonic()
    told = subprocess.run([sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE, text=True).stderr
    assert time.monotonic() - started < 5  # About half a second where nothing else runs.
    codes, _, modules = told.splitlines()[-1].partition("] ")
    assert codes == "[0, 0, 2, 2, 2" + ", 0" * len(JOBS)
    assert HEAVY & set(modules.split()) == set()
