"""`python -m tfpoison.launch --flagfile=quickstart.flags`: the command `tfpoison`."""

import sys
from collections.abc import Sequence

from tfpoison import process


def main(arguments: Sequence[str]) -> int:
    """Runs the job that the command line asks for and returns the exit code."""
    from tfpoison.cli.main import main

    return main(arguments)


def command() -> None:
    """Runs the command of this process, and ends it with the exit code."""
    process.prepare()
    from tfpoison.cli.main import main

    sys.exit(main(sys.argv[1:], process.at_work))


if __name__ == "__main__":
    command()
