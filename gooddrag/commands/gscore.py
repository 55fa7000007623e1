"""`gooddrag gscore`: let a model rate edits. `gooddrag agreement`: compare its scores with people's and measures'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from gooddrag.errors import BadInput, EditFailed
from gooddrag.terminal import console, note, output, printable

if TYPE_CHECKING:
    import pandas as pd

    from gooddrag.bench.agreement import PositionBias
    from gooddrag.metrics.gscore import Answer, Protocol, Rater, Sample
    from gooddrag.metrics.gscore.cost import Forecast


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(gscore)
    app.command()(agreement)


def gscore(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Result folders; benchmarks; folders with original.png and one picture per method; a folder of such; "
            "or a CSV file with the columns task, original, method, edited."
        ),
    ] = None,
    original: Annotated[Path | None, typer.Option(help="One original; its edits with --edit.")] = None,
    edit: Annotated[list[str] | None, typer.Option(help="METHOD=PICTURE; may be repeated.")] = None,
    rater: Annotated[
        str,
        typer.Option(
            help="gemini; openai (any server that speaks its protocol); stand-in (no model, compares pixels)."
        ),
    ] = "gemini",
    model: Annotated[str | None, typer.Option(help="The model's name at its provider; it must take pictures.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another server, such as http://localhost:11434/v1.")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="How often each picture is rated.")] = 10,
    scale: Annotated[str, typer.Option(help="0-10 (the paper's) or 1-10 (the published notebook's).")] = "0-10",
    seed: Annotated[int, typer.Option(help="Of the order in which edits are shown.")] = 0,
    longest_side: Annotated[int, typer.Option(min=64, help="Larger pictures are scaled down to this, in px.")] = 1024,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="Default: the model's own.")] = None,
    per_minute: Annotated[float | None, typer.Option(min=0.01, help="At most so many requests a minute.")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="So many requests at a time.")] = 1,
    attempts: Annotated[int, typer.Option(min=1, max=20, help="How often a failing request is sent in all.")] = 6,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for one answer.")] = 120,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million input tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million output tokens.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before sending.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for ratings, summary and kept answers.")] = Path("runs/gscore"),
) -> None:
    """Let a model rate how good edits look (GScore); pictures are sent to its provider.

    The key is read from the environment: GEMINI_API_KEY (or GOOGLE_API_KEY), OPENAI_API_KEY.
    """
    from pydantic import ValidationError

    from gooddrag.files import check_writable
    from gooddrag.metrics.gscore import Protocol, connect
    from gooddrag.metrics.gscore.cost import forecast

    try:
        protocol = Protocol(scale=scale, repeats=repeats, seed=seed, longest_side=longest_side)  # type: ignore[arg-type]
    except ValidationError:
        raise BadInput(f"There is no scale '{scale}': use 0-10 or 1-10.") from None
    if (price_in is None) != (price_out is None):
        raise BadInput("One price is missing: give both --price-in and --price-out, or neither.")
    samples = _samples(paths or [], original, edit or [])
    limits: dict[str, Any] = {"attempts": attempts, "per_minute": per_minute, "timeout": timeout}
    chosen = connect(rater, model, base_url, temperature=temperature, **limits)
    kept = out / "answers"
    planned = forecast(samples, chosen, protocol, kept)
    _announce(planned, chosen, samples, price_in, price_out)
    if dry_run:
        return
    if planned.requests and rater != "stand-in" and not yes and not _confirmed():
        raise EditFailed("Nothing was sent: answer with y, or give --yes.")
    check_writable(out)
    _save(_asked(samples, chosen, protocol, kept, parallel, planned), chosen, protocol, out)


def _samples(paths: Sequence[Path], original: Path | None, edits: Sequence[str]) -> list[Sample]:
    from gooddrag.metrics.gscore.protocol import Sample
    from gooddrag.metrics.gscore.samples import parse_edit, read_samples

    if paths and (original or edits):
        raise BadInput("Both folders and --original or --edit were given: use one of them.")
    if paths:
        return read_samples(paths)
    if original is None or not edits:
        raise BadInput("There is nothing to rate: name folders, or --original and at least one --edit METHOD=PICTURE.")
    named = [parse_edit(text) for text in edits]
    if len(dict(named)) < len(named):
        raise BadInput("Two edits have the same name: give each --edit another one.")
    return [Sample(original.stem, original, dict(named))]


def _announce(
    planned: Forecast, rater: Rater, samples: Sequence[Sample], price_in: float | None, price_out: float | None
) -> None:
    """What will be sent and what that costs, about."""
    edits = sum(len(sample.edits) for sample in samples)
    lines = [
        f"{len(samples)} picture(s) with {edits} edit(s) for {printable(rater.name)}: {planned.requests} request(s) to "
        f"send, {planned.known} answer(s) already known."
    ]
    if planned.input_tokens:
        lines.append(
            f"Estimate, by the provider's rules of thumb: {planned.input_tokens:,} tokens in, "
            f"{planned.output_tokens:,} out (at most {planned.most_output_tokens:,}, with what a model thinks)."
        )
    if price_in is not None and price_out is not None:
        about, most = planned.price(price_in, price_out)
        lines.append(
            f"At your prices about {about:.2f}, at most {most:.2f}; requests that fail and go again come on top."
        )
    for line in lines:
        output.print(line, markup=False, soft_wrap=True)


def _confirmed() -> bool:
    try:
        return typer.confirm("Send the pictures?", err=True)
    except typer.Abort:
        return False


def _asked(
    samples: Sequence[Sample], rater: Rater, protocol: Protocol, kept: Path, parallel: int, planned: Forecast
) -> list[Answer]:
    from gooddrag.metrics.gscore import rate

    answers: list[Answer] = []
    stream = rate(samples, rater, protocol, kept, parallel)
    try:
        for answer in track(stream, "rating", planned.requests + planned.known, console=console, transient=True):
            answers.append(answer)
    except KeyboardInterrupt:
        raise EditFailed("Interrupted: run this again to go on, the answers so far are kept.") from None
    finally:
        stream.close()
    return answers


def _save(answers: Sequence[Answer], rater: Rater, protocol: Protocol, out: Path) -> None:
    """Write ratings and summary, print the latter."""
    from gooddrag.bench.agreement import position_bias
    from gooddrag.bench.ratings import gscores, problems
    from gooddrag.files import written_together
    from gooddrag.metrics.gscore import table

    ratings = table(answers)
    means, bias, bad = gscores(ratings), position_bias(ratings), problems(ratings)
    summary = {
        "rater": rater.name,
        "protocol": protocol.model_dump(),
        "questions": len(answers),
        "problems": bad,
        "input_tokens": sum(answer.outcome.input_tokens for answer in answers),
        "output_tokens": sum(answer.outcome.output_tokens for answer in answers),
        "gscore": {method: vars(mean) for method, mean in means.items()},
        "position_bias": None if bias is None else {"p": bias.p, "by_position": _plain(bias)},
    }
    with written_together(out, last="summary.json") as place:
        ratings.to_csv(place / "ratings.csv", index=False)
        ratings.to_parquet(place / "ratings.parquet", index=False)
        (place / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    _show(ratings, summary, bias)
    output.print(f"Ratings in {printable(str(out))}.", markup=False, soft_wrap=True)
    if bad.get("failed"):
        raise EditFailed(f"{bad['failed']} request(s) failed: run this again to send those anew.")
    if not means:
        raise EditFailed("No answer was usable: look at the column problem in ratings.csv, or try another model.")


def _plain(bias: PositionBias) -> dict[int, dict[str, float]]:
    return {position: vars(mean) for position, mean in bias.by_position.items()}


def _show(ratings: pd.DataFrame, summary: dict[str, Any], bias: PositionBias | None) -> None:
    from gooddrag.bench.ratings import gscores

    shown = Table("method", f"GScore ({summary['protocol']['scale']})", "scores")
    counts = ratings.groupby("method")["score"].count()
    for method, mean in gscores(ratings).items():
        alone = ratings["task"].nunique() == 1  # then there is nothing to tell an interval from
        shown.add_row(printable(method), f"{mean.value:.2f}" if alone else str(mean), str(counts[method]))
    output.print(shown)
    for kind, count in summary["problems"].items():
        note(f"{count} of {summary['questions']} answer(s): {kind}.")
    if bias is not None:
        places = ", ".join(f"{k}: {mean.value:+.2f}" for k, mean in bias.by_position.items())
        note(f"Scores by position, against the same edits elsewhere: {places}; p = {bias.p:.3f}.")


def agreement(
    tables: Annotated[list[Path], typer.Argument(help="CSV or parquet files with task, method, score and rater.")],
    people: Annotated[
        list[Path] | None, typer.Option(help="A file whose raters count as one, 'people'; may be repeated.")
    ] = None,
) -> None:
    """How far raters put edits into the same order: Spearman's rank correlation per picture, and its mean."""
    import pandas as pd

    from gooddrag.bench.agreement import PUBLISHED, all_pairs
    from gooddrag.bench.ratings import mean_scores, pooled, read_ratings

    read = [read_ratings(path) for path in tables]
    if people:
        read.append(pooled(pd.concat([read_ratings(path) for path in people]), "people"))
    scores = mean_scores(read)
    if len(scores.columns) < 2:
        raise BadInput("There is only one rater with scores: give tables of two or more, or --people.")
    shown = Table("a", "b", "mean Spearman", "pictures", "all the same", "too few")
    for pair in all_pairs(scores):
        cells = (len(pair.per_task), len(pair.constant), len(pair.too_few))
        mean = "-" if pair.mean is None else str(pair.mean)
        shown.add_row(printable(pair.a), printable(pair.b), mean, *map(str, cells))
    output.print(shown)
    published = ", ".join(f"{name} {value:.3f}" for name, value in PUBLISHED.items())
    note(f"The paper's values against 27 people, on 12 pictures with 3 methods: {published}.")
