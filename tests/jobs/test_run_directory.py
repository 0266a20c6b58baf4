"""Directories of runs: whose they are, and who may work in them together."""

import pytest

from tfpoison.jobs.run_directory import RunDirectory, read_flags


def test_free_flags_may_change(tmp_path):
    first = RunDirectory(tmp_path / "run", {"trials": "3", "seed": "0"}, free=("trials",))
    with first.shared():
        pass
    more = RunDirectory(tmp_path / "run", {"trials": "5", "seed": "0"}, free=("trials",))
    with more.shared():
        assert read_flags(more.path / "config.flags") == {"trials": "5", "seed": "0"}
    other = RunDirectory(tmp_path / "run", {"trials": "5", "seed": "1"}, free=("trials",))
    with pytest.raises(ValueError, match="--seed=0 there, 1 now"), other.shared():
        pass


def test_processes_share_or_exclude(tmp_path):
    """Locks are held by open files, so that two objects stand for two processes here."""
    one, other = (RunDirectory(tmp_path / "run", {}) for _ in range(2))
    with one.shared(), other.shared():
        with one.try_lock("trial-1") as first, other.try_lock("trial-1") as second:
            assert (first, second) == (True, False)
        with one.try_lock("trial-1") as first, other.try_lock("trial-2") as second:
            assert (first, second) == (True, True)
        with other.try_lock("trial-1") as again:
            assert again
    with (
        one.occupied(),
        pytest.raises(ValueError, match="a process has it"),
        other.shared(),
    ):
        pass


def test_work_in_progress_is_removed_when_it_is_done(tmp_path):
    directory = RunDirectory(tmp_path, {})
    with pytest.raises(ZeroDivisionError), directory.temporary("work") as work:
        work.write_text("state", "half")
        raise ZeroDivisionError
    with directory.temporary("work") as work:
        assert (work.path / "state").read_text() == "half"
    assert not (tmp_path / "work").exists()


def test_a_refused_run_leaves_the_directory_free(tmp_path):
    first = RunDirectory(tmp_path / "run", {"epochs": "3"})
    with pytest.raises(ValueError, match="no"), first.occupied():
        raise ValueError("no")
    RunDirectory(tmp_path / "run", {"epochs": "4"}).check()


@pytest.mark.parametrize("where", ["file", "file/inside"])
def test_files_are_no_directories(tmp_path, where):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="Received a file"):
        RunDirectory(tmp_path / where, {}).check()
