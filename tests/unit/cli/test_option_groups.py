"""A command takes its options in groups, and the command line shows them one by one."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from batch_bridge._cli.option_groups import flat
from batch_bridge._cli.serve import serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    front: Annotated[str, typer.Option(help="In front.")] = "red"
    many: Annotated[list[str] | None, typer.Option()] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    width: Annotated[int, typer.Option(min=1)] = 3


def run(*arguments):
    seen, app = [], typer.Typer()

    def paint(*, colours: Colours, sizes: Sizes) -> None:
        """Paint."""
        seen.append((colours, sizes))

    app.command()(flat(paint))
    return seen, CliRunner().invoke(app, arguments)


def test_each_field_is_an_option_with_its_default():
    assert run()[0] == [(Colours(), Sizes())]
    seen, _ = run("--front", "blue", "--many", "a", "--many", "b", "--width", "5")
    assert seen == [(Colours(front="blue", many=["a", "b"]), Sizes(width=5))]


def test_the_help_and_the_limits_of_an_option_are_its_own():
    assert all(text in run("--help")[1].output for text in ("Paint.", "In front.", "--width"))
    seen, ended = run("--width", "0")
    assert (seen, ended.exit_code) == ([], 2)


def test_serve_takes_five_groups_and_no_option_twice():
    assert len(serve.__annotations__) == len(serve.__signature__.parameters) == 30
