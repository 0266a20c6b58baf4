"""Progress is told in lines that stand, or, on a terminal, in one that is written over."""

import pytest

from tfpoison.progress import Progress, duration


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run(clock, *, steps=5, seconds=20.0, **more):
    progress = Progress("steps", steps, clock=clock, **more)
    for done in range(1, steps + 1):
        clock.now += seconds
        progress.show(done, f"loss {done / 10}")
    return progress


def test_lines_without_a_terminal_are_few_and_plain(clock, capsys):
    run(clock)
    assert capsys.readouterr().out.splitlines() == [
        "loss 0.2, 2 of 5 steps, about 60 s left",
        "loss 0.4, 4 of 5 steps, about 20 s left",
        "loss 0.5, 5 of 5 steps",
    ]


def test_a_terminals_line_is_written_over(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    run(clock, steps=3)
    text = capsys.readouterr().out
    assert text.count("\n") == 1 and text.endswith("\rloss 0.3, 3 of 3 steps\n")
    assert "\rloss 0.2, 2 of 3 steps, about 20 s left" in text


def test_what_others_had_done_says_nothing_of_our_speed(clock, capsys):
    progress = Progress("victims", 100, done=90, clock=clock)
    progress.tell(90)
    clock.now += 10
    progress.tell(91, "trial 3")
    assert capsys.readouterr().out.splitlines() == [
        "90 of 100 victims",
        "trial 3, 91 of 100 victims, about 90 s left",
    ]


def test_nothing_is_told_unasked(clock, capsys):
    run(clock, verbose=False).tell(5)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (7800, "2 h 10 min"), (356400, "4 d 3 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
