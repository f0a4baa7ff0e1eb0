"""The console command `concord`: short names for what `python -m ...` and DVC already do.

    concord check [RECIPE] [--explain]              # is it right? every value, with its meaning
    concord run [RECIPE] [KEY=VALUE ...]            # the whole pipeline
    concord use RECIPE                              # makes a recipe the project's own
    concord demo                                    # the tiny recipe, in a few minutes
    concord retrain                                 # train on what is new; publish or refuse
    concord inspect FILE                            # what is this file, and how is it read?
    concord status                                  # what would rerun, and why
    concord report                                  # write the report page again
    concord study                                   # compare policies at equal KL, over seeds
    concord score MODEL FILE                        # does a reward model agree with these labels?
    concord rollback                                # the former champion again, without training
    concord lineage                                 # what the champion was made of and from
    concord reproduce v1.2.0                        # build a version again, and compare hashes
    concord regrade reports/samples/mah_dpo.parquet # recompute the gold scores of saved answers

Run it in the root of the project, or of a clone under `runs/`. Most commands start `python -m ...`
there, because a clone has its own copy of the code, and the installed `concord` would run the code
of the folder that it was installed from. So nothing here imports model code, which takes seconds to
load, and `concord --help` answers at once.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from typer.core import TyperGroup

from concord import release
from concord.release import lineage as lineages
from concord.release import reproduce as rebuilds
from concord.stage.errors import ConcordError
from concord.stage.params import read
from concord.stage.paths import REPORTS
from concord.stage.stage_graph import is_short, write_graph
from flows.clone import clone
from flows.status import describe

DEFAULT = Path("params.yaml")
TINY = Path("recipes/tiny.yaml")
STUDY = Path("recipes/studies/dev.yaml")
PAGE = REPORTS / "index.html"
SHORT = "`concord use params.yaml` writes every value of it, for DVC and for scheduled runs."


class CommandError(ConcordError):
    """The command cannot work here or with these arguments."""


class _Commands(TyperGroup):
    """Prints a ConcordError in one block, without a traceback, and exits with status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ConcordError as error:
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Aligns one language model to several objectives. Run it in the root of the project.",
)


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="A params file.")] = str(DEFAULT),
    explain: Annotated[
        bool, typer.Option(help="Print every value, whether it was given, and what it means.")
    ] = False,
) -> None:
    """Check a params file. Of params.yaml, also record the code of every stage."""
    _require_project()
    if explain or Path(recipe) != DEFAULT or _is_short():
        _python("flows.recipe", recipe, *(["--explain"] if explain else []))
        return
    _fit_graph()
    _python("tasks.check")
    typer.echo(f"{DEFAULT} is valid; `concord status` shows what would run")


@app.command()
def run(
    recipe: Annotated[
        str, typer.Argument(help="A params file; another one than params.yaml runs in a clone.")
    ] = str(DEFAULT),
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Values to change, for example sft.steps=50."),
    ] = None,
) -> None:
    """Run the pipeline. Another recipe, a short one, or changed values run in a clone in runs/."""
    _require_project()
    values = list(changes or [])
    if "=" in recipe:
        recipe, values = str(DEFAULT), [recipe, *values]
    _run(Path(recipe), values)


@app.command()
def use(recipe: Annotated[str, typer.Argument(help="A params file, which may be short.")]) -> None:
    """Make a recipe the project's own: a complete params.yaml, and dvc.yaml with its stages."""
    _require_project()
    _python("flows.use_recipe", recipe)


@app.command()
def demo() -> None:
    """Run the tiny recipe in a few minutes."""
    _require_project()
    folder = _run(TINY, [])
    typer.echo(f"\nThe report page: {(folder / PAGE).resolve()}")


@app.command()
def status() -> None:
    """Show which stages would rerun, and why."""
    _require_project()
    _require_complete()
    _fit_graph()
    _python("tasks.check")
    typer.echo(describe(Path.cwd()))


@app.command()
def report() -> None:
    """Write the report page again, and print its path."""
    _require_project()
    _require_complete()
    if not (REPORTS / "front.json").is_file():
        raise CommandError(f"{Path.cwd() / REPORTS} holds no results to show. Run `concord run`.")
    _python("tasks.report")


@app.command()
def study(
    recipe: Annotated[str, typer.Argument(help="A study, such as recipes/studies/dev.yaml.")] = str(
        STUDY
    ),
    at_once: Annotated[int, typer.Option(help="Trainings that run at the same time.")] = 2,
) -> None:
    """Compare steered policies with specialists, over weights and seeds, at equal KL."""
    _require_project()
    _python("flows.study", recipe, str(at_once))


@app.command()
def retrain(
    force: Annotated[bool, typer.Option(help="Train and publish although nothing is new.")] = False,
    retry_refused: Annotated[
        bool, typer.Option(help="Try inputs again that an earlier run refused.")
    ] = False,
) -> None:
    """Train on new data and code in runs/retrain; publish if the gate accepts."""
    _require_project()
    options = {"--force": force, "--retry-refused": retry_refused}
    _python("flows.retrain", *(option for option, given in options.items() if given))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A file or folder with annotations.")],
    format_name: Annotated[
        str, typer.Option("--format", help="Read it in this format, instead of the likeliest one.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, an option of the format. Repeatable.")
    ] = None,
) -> None:
    """Say what a file of annotations is, and print what to put into a recipe."""
    _python("concord.annotations.inspection.inspect_file", str(file), format_name, _options(option))


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="The folder of a trained reward model.")],
    file: Annotated[Path, typer.Argument(help="A file or folder with annotations.")],
    objective: Annotated[
        str, typer.Option(help="Score with this head; compare with the file's only labels.")
    ] = "",
    format_name: Annotated[
        str, typer.Option("--format", help="Read it in this format, instead of the likeliest one.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, an option of the format. Repeatable.")
    ] = None,
    out: Annotated[str, typer.Option(help="Write the score of every answer to FILE.parquet.")] = "",
) -> None:
    """Score a file with a reward model, and compare with the labels in it."""
    arguments = (str(model), str(file), objective, format_name, _options(option), out)
    _python("concord.evaluation.rewards.score_file", *arguments)


@app.command()
def rollback(
    version: Annotated[
        str, typer.Argument(help="A version, such as v1.2.0. Default: the former champion.")
    ] = "",
) -> None:
    """Make a former champion the champion again. Nothing is trained."""
    _require_project()
    restored = release.roll_back(Path.cwd(), version)
    typer.echo(f"{restored.name} is the champion again, and the next gate compares with it")
    typer.echo(f"its checkpoint: {release.how_to_get(restored)}")


@app.command()
def lineage(
    version: Annotated[
        str, typer.Argument(help="A version, such as v1.2.0. Default: the champion.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, as JSON.")] = False,
) -> None:
    """Show what a version was made of and from: data, licences, code, models, weights, verdict."""
    _require_project()
    record = lineages.lineage(Path.cwd(), version)
    typer.echo(json.dumps(record, indent=1) if as_json else lineages.in_words(record))


@app.command()
def reproduce(
    version: Annotated[str, typer.Argument(help="A version, such as v1.2.0.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only look whether cache and remote still have it.")
    ] = False,
) -> None:
    """Build a version again in a clone and compare hashes. Exits with 1 if some differ."""
    _require_project()
    if check:
        kept = rebuilds.check(Path.cwd(), version)
        typer.echo(rebuilds.kept_in_words(kept))
        raise typer.Exit(1 if kept.lost or kept.unsaved else 0)
    rebuilt = rebuilds.reproduce(Path.cwd(), version)
    typer.echo(rebuilds.rebuilt_in_words(rebuilt))
    raise typer.Exit(1 if rebuilt.different else 0)


@app.command()
def regrade(
    file: Annotated[Path, typer.Argument(help="Saved answers, reports/samples/<policy>.parquet.")],
) -> None:
    """Recompute the gold scores of saved answers."""
    _require_project()
    if not file.is_file():
        names = ", ".join(sorted(str(path) for path in (REPORTS / "samples").glob("*.parquet")))
        raise CommandError(f"{file} does not exist. Choose one of: {names or 'none here yet'}.")
    _python("concord.evaluation.policies.regrade", str(file))


def _options(assignments: list[str] | None) -> str:
    """The options KEY=VALUE as a JSON object; values are YAML."""
    options = {}
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise CommandError(f"--option {assignment}: write KEY=VALUE, as in objective=helpful.")
        try:
            options[key] = YAML(typ="safe", pure=True).load(value)
        except YAMLError:
            raise CommandError(f"--option {assignment}: {value!r} is not valid YAML.") from None
    return json.dumps(options, default=str)


def _require_project() -> None:
    if not Path("dvc.yaml").is_file() or not DEFAULT.is_file():
        raise CommandError(
            f"{Path.cwd()} holds no dvc.yaml and params.yaml, so there is no project to work on. "
            "Change to the root of the project."
        )


def _require_complete() -> None:
    if _is_short():
        raise CommandError(
            f"{DEFAULT} is a short recipe, which DVC cannot read. {SHORT} `concord run` runs it as "
            "it is, in a clone under runs/."
        )


def _is_short() -> bool:
    """Whether params.yaml lacks keys that dvc.yaml reads: it is then completed in a clone."""
    return is_short(read(DEFAULT))


def _run(recipe: Path, changes: list[str]) -> Path:
    """Runs every stage; returns the folder of the run."""
    folder = Path.cwd()
    if recipe == DEFAULT and not changes and _is_short():
        typer.echo(f"{DEFAULT} is a short recipe, so it runs in a clone. {SHORT}")
    if recipe != DEFAULT or changes or _is_short():
        folder = clone(recipe, folder, changes)
        typer.echo(f"in {folder}")
    else:
        _fit_graph()
    _python("tasks.check", folder=folder)
    _python("flows.align", folder=folder)
    return folder


def _fit_graph() -> None:
    """Makes dvc.yaml depend on the files of the user's functions, if params.yaml names others."""
    params = read(DEFAULT)
    if not is_short(params) and write_graph(Path(), params):
        typer.echo("dvc.yaml now depends on the files of the functions in params.yaml; commit it")


def _python(module: str, *arguments: str, folder: Path | None = None) -> None:
    """Runs `python -m module` in `folder`; exits with its status if it failed.

    Ctrl-C reaches the child too. The child ends its stages and says so; this process waits for it.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=folder) as process:
            ended = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                code = process.wait()
            finally:
                signal.signal(signal.SIGTERM, ended)
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)


def main() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    app()


if __name__ == "__main__":
    main()
