"""From a command line to an exit code."""

import contextlib
import logging as std_logging
import pathlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from absl import logging

import tfpoison
from tfpoison import failures
from tfpoison.checks import check_name
from tfpoison.cli import help, jobs
from tfpoison.cli.flags import CommandLine, flag_names, in_flags

DONE = 0


def main(
    arguments: Sequence[str],
    at_work: Callable[[], AbstractContextManager] = contextlib.nullcontext,
) -> int:
    """Runs the job that the command line asks for and returns the exit code.

    Args:
        arguments: the command line without the program's name.
        at_work: what the job is checked and run in, once everything has been imported.
    """
    folder, started = pathlib.Path(), False
    try:
        line = CommandLine(arguments)
        if line["help"] or line["version"]:
            print(_answer(line), flush=True)
            return DONE
        folder = pathlib.Path(line["output_dir"] or "")
        _set_logging(line["verbosity"])
        job = jobs.make_job(line)
        with at_work(), in_flags(flag_names(*jobs.JOBS[line["job"]].flags())):
            if line["strategy"] != "multi_worker":
                # Several workers have to meet before anything else; their job checks itself then.
                job.check()
            started = True
            report = job.run()
        if line["verbosity"] >= 0 and report:
            print(report, flush=True)
    except (Exception, KeyboardInterrupt) as error:
        return failures.tell(error, folder, started=started)
    return DONE


def _answer(line: CommandLine) -> str:
    if line["version"]:
        return f"tfpoison {tfpoison.__version__}"
    jobs.import_plugins(line)
    if line["help"] != "true":
        return help.of_name(line["help"])
    if not line.is_present("job"):
        return help.overview()
    check_name("job", line["job"], jobs.JOBS)
    return help.of_job(line["job"])


def _set_logging(verbosity: int) -> None:
    logging.set_verbosity(logging.WARNING if verbosity < 1 else logging.INFO)
    # TensorFlow warns of retracing wherever a grid meets images of another number.
    std_logging.getLogger("tensorflow").setLevel(
        std_logging.ERROR if verbosity < 1 else std_logging.INFO
    )
