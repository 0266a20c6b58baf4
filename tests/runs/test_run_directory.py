"""Directories of runs: whose they are, and who may work in them together."""

import contextlib
import errno
import fcntl
import threading

import pytest

from tfpoison.runs import run_directory
from tfpoison.runs.run_directory import RunDirectory, file_name, read_flags


def test_free_flags_may_change(tmp_path):
    first = RunDirectory(tmp_path / "run", {"trials": "3", "seed": "0"}, free=("trials",))
    with first.shared():
        first.write_text("result", "")
    more = RunDirectory(tmp_path / "run", {"trials": "5", "seed": "0"}, free=("trials",))
    with more.shared():
        assert read_flags(more.path / "config.flags") == {"trials": "5", "seed": "0"}
    other = RunDirectory(tmp_path / "run", {"trials": "5", "seed": "1"}, free=("trials",))
    with pytest.raises(ValueError, match="--seed=0 there, 1 now"), other.shared():
        pass


def test_of_some_flags_the_last_one_counts(tmp_path):
    """Of a file as well, which otherwise may not be replaced."""
    (tmp_path / "known.csv").write_text("id")
    for filters in ("a,b", "b", "c"):
        flags = {"filters": filters, "known": str(tmp_path / "known.csv")}
        run = RunDirectory(tmp_path / "run", flags, latest=("filters", "known"), files=("known",))
        with run.occupied():
            run.write_text("scores", filters)
        assert read_flags(run.path / "config.flags") == flags
        (tmp_path / "known.csv").write_text(filters)


def test_the_configuration_of_an_extended_run_names_all_of_it(tmp_path):
    free = ("trials", "recipes")
    for trials, recipes in [("9", "bullseye"), ("10", "bullseye,metapoison"), ("8", "bullseye")]:
        run = RunDirectory(tmp_path / "run", {"trials": trials, "recipes": recipes}, free=free)
        with run.shared():
            run.write_text("result", "")
    expected = {"trials": "10", "recipes": "bullseye,metapoison"}
    assert read_flags(run.path / "config.flags") == expected


def test_flags_that_are_set_later(tmp_path):
    def make(**flags):
        return RunDirectory(tmp_path / "run", flags, free=["scenarios"], later=["source"])

    first, second = make(scenarios="a"), make(scenarios="a,b", source="other")
    for run in (first, second, first):
        with run.shared():
            run.write_text("result", "")
    assert read_flags(first.path / "config.flags") == second.flags
    with pytest.raises(ValueError, match="--source=other there, another now"):
        make(scenarios="a,b", source="another").check()
    with pytest.raises(ValueError, match=r"--classes=\(unset\) there, 3 now"):
        make(scenarios="a,b", classes="3").check()


def test_a_file_that_was_replaced(tmp_path):
    poisons = tmp_path / "poisons.npz"
    poisons.write_text("one")
    flags = {"poisons": str(poisons), "seed": "0"}
    run = RunDirectory(tmp_path / "run", flags, files=("poisons", "trigger_image"))
    with run.occupied():
        run.write_text("result", "")
    run.check()
    assert read_flags(run.path / "config.flags") == flags
    poisons.write_text("two")
    with pytest.raises(ValueError, match=r"--poisons has the SHA-256 .* another one"):
        run.check()


def test_a_run_of_a_version_with_other_random_draws(tmp_path):
    run = RunDirectory(tmp_path / "run", {"seed": "0"})
    with run.occupied():
        run.write_text("result", "")
    text = (run.path / "config.flags").read_text()
    for theirs in ("", "# Random draws of scheme 1\n"):
        (run.path / "config.flags").write_text(theirs + "--seed=0\n")
        with pytest.raises(ValueError, match="of another version"):
            run.check()
    # As some editors save it.
    as_edited = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    (run.path / "config.flags").write_bytes(as_edited)
    run.check()


def test_a_list_that_was_empty(tmp_path):
    for export in ["", "image_folder"]:
        run = RunDirectory(tmp_path / "run", {"export": export}, free=("export",))
        with run.occupied():
            pass
    assert read_flags(run.path / "config.flags") == {"export": "image_folder"}


@pytest.mark.parametrize("how", ["shared", "occupied"])
def test_another_run_comes_first(how, tmp_path, monkeypatch):
    """Between the look into the directory and the lock on it."""
    first, late = (RunDirectory(tmp_path / "run", {"seed": seed}) for seed in "01")
    check = late.check

    def check_and_be_late():
        check()
        monkeypatch.setattr(late, "check", check)
        with first.shared():
            first.write_text("result", "")

    monkeypatch.setattr(late, "check", check_and_be_late)
    with pytest.raises(ValueError, match="--seed=0 there, 1 now"), getattr(late, how)():
        pass
    assert read_flags(late.path / "config.flags") == {"seed": "0"}


def test_locks_are_open_to_read(tmp_path, monkeypatch):
    """Over NFS `flock` is a record lock, and one that is shared asks for a file open to read."""
    seen = []
    monkeypatch.setattr(fcntl, "flock", lambda lock, kind: seen.append((lock.readable(), kind)))
    with RunDirectory(tmp_path / "run", {}).shared() as _:
        pass
    assert (True, fcntl.LOCK_SH | fcntl.LOCK_NB) in seen


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def fail(lock, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="No locks"), RunDirectory(tmp_path / "run", {}).shared():
        pass


def test_names_of_files_hold_no_folders():
    assert file_name("clean", "evasion(epsilon=16/255)", 0) == "clean-evasion(epsilon=16_of_255)-0"


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


def test_a_wait_is_told_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_directory, "_PATIENCE_SECONDS", 0.01)
    one, other = (RunDirectory(tmp_path, {}) for _ in range(2))
    for _ in range(2):
        with contextlib.ExitStack() as held:
            held.enter_context(one.locked("poisons-1"))
            threading.Timer(0.1, held.close).start()
            with other.locked("poisons-1") as ours:
                assert ours
    told = f"waiting for another process to be done with poisons-1 in {tmp_path}\n"
    assert capsys.readouterr().err == f"tfpoison: {told}"


def test_a_lock_that_is_free_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory.threading, "Timer", None)
    with RunDirectory(tmp_path, {}).locked("poisons-1") as ours:
        assert ours


def test_work_in_progress_is_removed_when_it_is_done(tmp_path):
    directory = RunDirectory(tmp_path, {})
    directory.folder("work").write_text("state", "half")
    assert (directory.folder("work").path / "state").read_text() == "half"
    directory.discard("work")
    assert list(tmp_path.iterdir()) == []
    # A removal that was killed.
    directory.folder(".work.removed").write_text("state", "half")
    directory.discard("work")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["shared", "occupied"])
def test_a_directory_without_results_takes_other_flags(tmp_path, how):
    """However the run ended that has left it so."""
    first, mended = (
        RunDirectory(tmp_path / "run", {"epochs": epochs, "trials": "9"}, free=["trials"])
        for epochs in "34"
    )
    with pytest.raises(KeyboardInterrupt), getattr(first, how)():
        first.folder("tensorboard").write_text("events", "")
        first.write_text("tfpoison_error.txt", "")
        first.folder("work")
        with first.locked("victim"):
            raise KeyboardInterrupt
    (first.path / ".checkpoint.npz.partial").touch()
    mended.check()
    with getattr(mended, how)():
        assert read_flags(mended.path / "config.flags")["epochs"] == "4"
        mended.folder("work").write_text("checkpoint.npz", "")
    with pytest.raises(ValueError, match="--epochs=4 there, 3 now"):
        first.check()


def test_a_run_that_is_about_to_have_results_keeps_its_directory(tmp_path):
    first, other = (RunDirectory(tmp_path / "run", {"seed": seed}) for seed in "01")
    with (
        first.shared(),
        pytest.raises(ValueError, match="--seed=0 there, 1 now"),
        other.shared(),
    ):
        pass
    assert read_flags(first.path / "config.flags") == {"seed": "0"}


def test_files_of_others_are_kept(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").touch()
    with pytest.raises(ValueError, match="other files"):
        RunDirectory(tmp_path, {}).check()


@pytest.mark.parametrize("name", ["form\ffeed", "separator\u2028", "\ufeffmark", "'#, --x=1\t="])
def test_the_configuration_gives_odd_names_back(tmp_path, name):
    run = RunDirectory(tmp_path / "run", {"data_dir": f"{name}here"})
    with run.occupied():
        assert read_flags(run.path / "config.flags") == run.flags
    with pytest.raises(ValueError, match="without line breaks, and without blanks"):
        RunDirectory(tmp_path / "new", {"data_dir": f"{name}\n"}).check()


@pytest.mark.parametrize("where", ["file", "file/inside"])
def test_files_are_no_directories(tmp_path, where):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="Received a file"):
        RunDirectory(tmp_path / where, {}).check()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="Received a link to nothing"):
        RunDirectory(tmp_path / where.replace("file", "link"), {}).check()
