"""The command line: a table of command names and where each lives, as import strings.

Nothing above this floor is imported before its command runs. Errors of the user end in one line
on standard error and exit code 2; work that failed ends in exit code 1.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from anynet.errors import InputError, WorkFailed


class Command(NamedTuple):
    """A row of the table: the function that runs it, and its one line in `anynet --help`."""

    function: str
    help: str


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "anynet.demo:demo",
        "The whole job on bundled images: two spaces swept, EDFs drawn, a RegNet exported.",
    ),
    "spaces": Command(
        "anynet.commands:spaces", "The named design spaces: free dimensions, exact size."
    ),
    "sample": Command("anynet.commands:sample", "Draw networks of a space inside windows of cost."),
    "cost": Command(
        "anynet.cost_command:cost",
        "Params, flops, activations and memory of a network, a line a stage.",
    ),
    "explain": Command(
        "anynet.commands:explain",
        "How a RegNet's widths come about; the line nearest to any other network.",
    ),
    "sweep": Command(
        "search.commands:sweep", "Train the population of a sweep file; the same command resumes."
    ),
    "edf": Command("analysis.edf_command:edf", "Draw the error distributions of runs."),
    "compare": Command(
        "analysis.compare_command:compare",
        "Which of two populations is better, by how much, and how sure that is.",
    ),
    "derive": Command(
        "analysis.derive_command:derive",
        "Constraints that the evidence of runs supports, and the space they leave.",
    ),
    "ranges": Command(
        "analysis.ranges_command:ranges",
        "Which parameters the good networks have, and which of them matter.",
    ),
    "tradeoff": Command(
        "analysis.tradeoff_command:tradeoff",
        "Error against cost: the Pareto front, and the baselines beside it.",
    ),
    "shapes": Command(
        "analysis.shapes_command:shapes", "Width by block of the best and the worst networks."
    ),
    "curves": Command("analysis.curves_command:curves", "Error against epoch."),
    "fidelity": Command(
        "analysis.fidelity_command:fidelity",
        "Whether a short training ranks networks as a long one does.",
    ),
    "ladder": Command(
        "analysis.ladder_command:ladder", "Draw what a derived space was decided by."
    ),
    "assumptions": Command(
        "analysis.assumptions_command:assumptions",
        "A page on how well the assumptions behind design spaces hold on runs.",
    ),
    "export": Command(
        "analysis.export_command:export", "Write a network, or the best of a run, for a library."
    ),
}


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    from cyclopts import App, CycloptsError

    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        nearest = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else f": {', '.join(COMMANDS)}"
        return _fail(f"{arguments[0]!r} is not a command{hint}", 2)
    try:
        arguments = _load_plugins(arguments)
    except InputError as error:
        return _fail(str(error), 2)
    app = App(
        name="anynet",
        help="Learn how networks for your data should be shaped.\n\n"
        "Every command takes --plugin FILE.py (or --plugin MODULE, an installed one): Python that "
        "registers blocks of your own.",
        version_flags=["--version"],
        version=_version,
        result_action="return_value",
    )
    for name, command in COMMANDS.items():
        # On its own page a command says all that it has to; the list of commands imports none.
        own = list(arguments[:1]) == [name]
        app.command(command.function, name=name, help=None if own else command.help)
    try:
        result = app(list(arguments), exit_on_error=False, print_error=False, verbose=False)
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()), 2)
    except InputError as error:
        return _fail(str(error), 2)
    except WorkFailed as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away, which is no error of ours
        return 0
    except OSError as error:  # standard output is full, say
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except Exception as error:
        from anynet.plugins import blame

        reason = blame(error)
        if reason is None:
            raise
        return _fail(reason, 2)
    return result if isinstance(result, int) else 0


def _load_plugins(arguments: Sequence[str]) -> list[str]:
    """Run all `--plugin FILE` or `MODULE` (or `--plugin=...`); returns the other arguments."""
    from anynet.plugins import load_plugin, read_plugin

    others: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--plugin" or argument.startswith("--plugin="):
            path = argument.partition("=")[2] or next(waiting, None)
            if path is None:
                raise InputError("--plugin: names neither a file nor a module")
            load_plugin(read_plugin(path))
        else:
            others.append(argument)
    return others


def main() -> None:
    """The `anynet` program."""
    sys.exit(run(sys.argv[1:]))


def _fail(message: str, code: int) -> int:
    print(f"anynet: {message}", file=sys.stderr)
    return code


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("anynet-nas")
    except PackageNotFoundError:
        return "unknown (run from source, not installed)"


if __name__ == "__main__":
    main()
