"""What a person is told who asks."""

import pytest

from tfpoison import __version__, launch
from tfpoison.cli.groups import GROUPS
from tfpoison.cli.jobs import JOBS
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
    assert "One of: constant, steps, cosine. [constant]" in " ".join(text.split())


def test_version(capsys):
    assert shown(capsys, "--version") == f"tfpoison {__version__}\n"
