"""Turn speech, or texts that the teacher speaks, into the token data that `distill` learns from.

Rows go to Parquet shards in one folder; every entry of the input ends as a row or in `bad.jsonl`
with its cause. A run can be stopped, repeated, and split into jobs: rows are known by id and
content, what is there is not made again, and what changed is replaced.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import filterfalse
from pathlib import Path
from typing import Any

from mamtra_cli.config import dump_json
from mamtra_cli.engine.corpora.clip import Bad, Clip, once
from mamtra_cli.engine.corpora.corpus import Corpus, find
from mamtra_cli.engine.corpora.hub import fetch
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing.audio_rows import AudioRows, Limits
from mamtra_cli.engine.preparing.prepared import (
    PLOT,
    STATISTICS,
    BadList,
    Job,
    Known,
    Ledger,
    check_target,
    clear,
    load_known,
    settled,
    shards_of,
)
from mamtra_cli.engine.preparing.shard_writer import Row, ShardWriter
from mamtra_cli.engine.preparing.shards import (
    arrow_parts,
    header_of,
    list_shards,
    model_hashes,
    read_header,
)
from mamtra_cli.engine.preparing.spoken_rows import BUILT_IN, SpokenRows, Text, built_in, read_texts
from mamtra_cli.engine.preparing.spread import Spread, spread_audio, spread_spoken
from mamtra_cli.engine.preparing.statistics import (
    draw_lengths,
    find_problems,
    read_columns,
    statistics,
)
from mamtra_cli.errors import (
    DataError,
    LimitMissedError,
    MissingDependencyError,
    OutputError,
    UsageError,
)
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.part import Part, part_of
from mamtra_cli.publish import output_errors, write_whole
from mamtra_cli.ray_pool import Cluster
from mamtra_cli.recipes.prepare import PrepareRecipe, PrepareResult
from mamtra_cli.stopping import stop_flag

DEFAULT_MODEL = "mini"
SYNTHETIC = "synthetic"

Outcome = Row | Bad | Known


@dataclass
class _Count:
    """What became of the entries so far."""

    entries: int = 0
    written: int = 0
    kept: int = 0
    shards: list[str] = field(default_factory=list)


def prepare(recipe: PrepareRecipe, report: Report = ignore) -> PrepareResult:
    """Prepare a corpus or texts, or say what that would mean.

    Args:
        recipe: every knob.
        report: hears of progress.

    Raises:
        DataError: there is no such input, or the folder holds data of another tokenizer.
        OutputError: the folder cannot be written.
        MissingDependencyError: pyarrow is not installed.
        KeyboardInterrupt: it was stopped; what was done is in the folder.
    """
    if recipe.check:
        return check(recipe, report)
    started = time.perf_counter()
    part = part_of(recipe.shard)
    if not 0 <= recipe.min_seconds <= recipe.max_seconds:
        raise UsageError(
            f"no clip takes from {recipe.min_seconds:g} to {recipe.max_seconds:g} s",
            "`--min-seconds` is at most `--max-seconds`",
        )
    corpus = None if recipe.synthetic else find_corpus(recipe, report)
    input = corpus.name if corpus is not None else Path(recipe.input).name or BUILT_IN
    if recipe.synthetic and recipe.input and not Path(recipe.input).is_file():
        raise DataError(f"there is no file of texts `{recipe.input}`", "write one text a line")
    base = PrepareResult(
        output=recipe.output,
        model=recipe.model or DEFAULT_MODEL,
        format=corpus.format if corpus is not None else SYNTHETIC,
        part=f"{part.index}/{part.count}",
        dry_run=recipe.dry_run,
    )
    if recipe.dry_run:
        return useful(dry(recipe, corpus, part, base, report), part, input)
    arrow_parts()  # missing is told before anything is made
    folder = output_of(recipe, part)
    load = partial(
        Engine.load, recipe.model or DEFAULT_MODEL, device=recipe.device, dtype=recipe.dtype
    )
    engine = load(threads=recipe.threads, report=report)
    job = Job(folder=folder, part=part)
    with job.running(), stop_flag() as stopped:
        if recipe.force:
            clear(folder)
        bad = BadList(job.bad, input)
        sampling = engine.sampling_with(
            engine.lesson_sampling,
            temperature=recipe.temperature,
            top_p=recipe.top_p,
            top_k=recipe.top_k,
        )
        made = {"seed": recipe.seed, **asdict(sampling)} if recipe.synthetic else {}
        header = header_of(engine, synthetic=recipe.synthetic, **made)
        with settled(folder):
            ledger = Ledger(folder, load_known(folder, header))
        cluster = Cluster(address=recipe.ray, workers=recipe.workers, threads=recipe.threads)
        road = Spread(cluster=cluster, load=load, ledger=ledger, stopped=stopped.is_set)
        outcomes: Iterator[Outcome]
        if corpus is not None:
            limits = Limits(least=recipe.min_seconds, most=recipe.max_seconds)
            entries = partial(clips_of, recipe, corpus, part)
            total = corpus.clips / part.count if corpus.clips is not None else None
            report(Stage(name="tokens", total=total, unit="clips", detail=corpus.name))
            if recipe.ray:
                outcomes = spread_audio(road, corpus.name, limits, entries)
            else:
                maker = AudioRows(engine, corpus.name, ledger, limits, stopped.is_set)
                outcomes = maker.rows(entries())
        else:
            engine.ready(engine.lm_part)
            texts = partial(texts_of, recipe, part)
            asked: dict[str, Any] = {
                "seed": recipe.seed,
                "retries": recipe.retries,
                "refused": bad.before,
            }
            goal = float("inf") if recipe.input else recipe.tokens / part.count
            total = None if recipe.input else goal
            report(Stage(name="speaking", total=total, unit="tokens", detail=input))
            if recipe.ray:
                outcomes = spread_spoken(road, sampling, engine.facts, texts, goal, **asked)
            else:
                speaker = SpokenRows(
                    engine, sampling, ledger=ledger, stopped=stopped.is_set, **asked
                )
                outcomes = speaker.rows(texts(), goal)
        by_token = recipe.synthetic and not recipe.input
        writer = ShardWriter(folder, header, prefix=job.prefix, shard_rows=recipe.shard_rows)
        count = _Count()
        try:
            moved = partial(_advance, by_token=by_token, report=report)
            _write(outcomes, writer, ledger, bad, count, moved)
        finally:
            count.shards = [path.name for path in writer.written]
            listed = bad.write()
        replaced = ledger.remove()
        if part.count == 1:
            _forget_jobs(folder)
        if stopped.is_set():
            report(Note(text=f"stopped: {count.written} rows are in {folder}, run again to go on"))
            raise KeyboardInterrupt
        with settled(folder):
            found = summarise(folder, plot=recipe.plot, report=report)
    result = replace(
        base,
        entries=count.entries,
        written=count.written,
        kept=count.kept,
        replaced=replaced,
        bad=len(bad.entries),
        causes=bad.causes,
        report=listed if bad.entries else None,
        shards=tuple(name for name in count.shards if (folder / name).exists()),
        seconds=time.perf_counter() - started,
        statistics=found,
    )
    if bad.entries:
        share = 100 * result.bad / result.entries
        text = (
            f"{result.bad} of {result.entries} entries ({share:.1f} %) could not be used: {listed}"
        )
        report(Note(text=text, warning=True))
    return useful(result, part, input)


def useful(result: PrepareResult, part: Part, name: str) -> PrepareResult:
    """Return a result with something in it; a job of several may have had nothing to do.

    Raises:
        DataError: nothing of the input could be used.
    """
    counted = not result.dry_run or result.entries  # a dry run does not count built-in texts
    empty = result.entries == result.bad if result.dry_run else not result.written + result.kept
    if not counted or not empty or (part.count > 1 and not result.bad):
        return result
    if not result.bad:
        raise DataError(f"nothing is in `{name}`", "give a corpus with at least one clip and text")
    causes = ", ".join(f"{count} {cause}" for cause, count in result.causes.items())
    raise DataError(
        f"nothing of `{name}` can be used: {causes}",
        f"each entry has its cause in {result.report}" if result.report else None,
    )


def find_corpus(recipe: PrepareRecipe, report: Report) -> Corpus:
    """Find the input here or on the hub."""
    if not recipe.input:
        raise UsageError(
            "no input is given", "name a corpus, or let the model speak: `--synthetic --tokens N`"
        )
    path, output = Path(recipe.input), recipe.output
    if output is not None and path.is_dir() and path.resolve() == output.resolve():
        raise UsageError(
            f"`{output}` is the input and the output",
            f"write beside it, `-o {output.with_name(f'{output.resolve().name}-prepared')}`",
        )
    if not path.exists():
        fetched = fetch(recipe.input, recipe.files, report)
        path = fetched if fetched is not None else path
        corpus = find(path, format=recipe.format, pattern=recipe.files, without=output)
        # A snapshot's folder is named by its commit.
        return corpus if fetched is None else replace(corpus, title=recipe.input.partition("@")[0])
    return find(path, format=recipe.format, pattern=recipe.files, without=output)


def output_of(recipe: PrepareRecipe, part: Part) -> Path:
    """The folder to write, if it can be."""
    folder = recipe.output
    if folder is None:
        raise UsageError("no output folder is given", "name one, `-o prepared`")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output `{folder}` is not a folder", "name a folder")
    if recipe.force and part.count > 1:
        raise UsageError(
            "`--force` would remove what other jobs wrote", f"remove the folder: rm -r {folder}"
        )
    check_target(folder, force=recipe.force)
    return folder


def texts_of(recipe: PrepareRecipe, part: Part) -> Iterator[Text | Bad]:
    """The texts of a part to be spoken."""
    texts: Iterator[Text | Bad] = (
        read_texts(Path(recipe.input), recipe.text_key) if recipe.input else built_in(recipe.seed)
    )
    return once(filterfalse(lambda text: not part.takes(text.id), texts))


def clips_of(recipe: PrepareRecipe, corpus: Corpus, part: Part) -> Iterator[Clip | Bad]:
    """The clips of a part."""
    return once(corpus.entries(part, text_key=recipe.text_key, audio_key=recipe.audio_key))


def _write(
    outcomes: Iterator[Outcome],
    writer: ShardWriter,
    ledger: Ledger,
    bad: BadList,
    count: _Count,
    advance: Callable[[Outcome], None],
) -> None:
    """Put every outcome where it belongs."""
    with writer:
        for outcome in outcomes:
            count.entries += 1
            advance(outcome)
            match outcome:
                case Row():
                    writer.add(outcome)
                    count.written += 1
                    ledger.overtake(outcome.id, outcome.source, outcome.sha256)
                case Bad():
                    bad.add(outcome)
                    if outcome.sha256:
                        ledger.overtake(outcome.id, outcome.source)
                case Known():
                    count.kept += 1


def _advance(outcome: Outcome, *, by_token: bool, report: Report) -> None:
    if not by_token:
        report(Advance())
    elif isinstance(outcome, Row):
        report(Advance(amount=len(outcome.speech_tokens)))


def _forget_jobs(folder: Path) -> None:
    """Remove the bad lists of jobs that a run over everything has superseded."""
    for path in folder.glob("bad-*-of-*.jsonl"):
        with output_errors(path):
            path.unlink()


def summarise(folder: Path, *, plot: bool, report: Report) -> dict[str, object]:
    """Write statistics and plot of a whole folder; nothing where it holds no rows."""
    if not shards_of(folder):
        for name in (STATISTICS, PLOT):
            (folder / name).unlink(missing_ok=True)
        return {}
    columns = read_columns(folder)
    found = statistics(folder, columns)
    write_whole(folder / STATISTICS, dump_json(found))
    if plot:
        try:
            draw_lengths(folder, columns)
        except MissingDependencyError as error:
            report(Note(text=f"no {PLOT}: {error.message} ({error.hint})"))
    return found


def dry(
    recipe: PrepareRecipe, corpus: Corpus | None, part: Part, base: PrepareResult, report: Report
) -> PrepareResult:
    """Count the entries of the input without hearing or speaking any."""
    report(Stage(name="counting"))
    if corpus is None and not recipe.input:
        return base
    bad = BadList(Path(), "")
    entries: Iterator[Clip | Text | Bad] = (
        clips_of(recipe, corpus, part) if corpus is not None else texts_of(recipe, part)
    )
    count = 0
    for entry in entries:
        count += 1
        if isinstance(entry, Bad):
            bad.add(entry)
    return replace(base, entries=count, bad=len(bad.entries), causes=bad.causes)


def check(recipe: PrepareRecipe, report: Report) -> PrepareResult:
    """Read a prepared folder whole: its statistics, and what is wrong with it."""
    if not recipe.input:
        raise UsageError("no folder to check is given", "name one: `mamtra prepare --check DIR`")
    folder = Path(recipe.input)
    shards = list_shards(folder)
    report(Stage(name="checking", detail=f"{len(shards)} shards"))
    hashes = None
    if recipe.model:
        engine = Engine.load(recipe.model, device="cpu", report=report)
        hashes = asdict(model_hashes(engine))
    problems = find_problems(folder, hashes)
    found: dict[str, object] = {}
    try:
        header = read_header(shards[0])
        found = statistics(folder)
    except DataError as error:
        if not problems:
            raise
        report(Note(text=f"no statistics: {error.message}"))
        header = None
    return PrepareResult(
        output=folder,
        model=recipe.model or (header.model if header is not None else ""),
        format="prepared",
        part="1/1",
        entries=int(str(found.get("rows", 0))),
        statistics=found,
        problems=tuple(problems),
    )


def missed(recipe: PrepareRecipe, result: PrepareResult) -> LimitMissedError | None:
    """The limit that the user set and the input missed, if any."""
    share = 100 * result.bad / max(result.entries, 1)
    if recipe.max_bad is None or share <= recipe.max_bad:
        return None
    return LimitMissedError(
        f"{share:.1f} % of the entries could not be used, above `--max-bad {recipe.max_bad:g}`",
        f"the causes are in {result.report}" if result.report else None,
    )
