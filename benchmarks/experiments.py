"""Studies of conversion and distillation: each figure of docs/experiments.md from one command.

    python benchmarks/experiments.py placements --out work/experiments
    python benchmarks/experiments.py initialisation --smoke

Studies are files in examples/experiments: `placements`, `initialisation`, `data`, `ablation`,
`mixers`, or the path of one of your own. Every row is converted, trained and compared with the
teacher on one held-out set, then every row and the teacher speak the same sentences to Whisper
base. Finished rows are in OUT/STUDY/results.jsonl and are not done again, so a stopped study
goes on with the same command; `--phase` does a part of it. Prints Markdown; writes
OUT/STUDY/STUDY.svg. Needs `pip install 'mamtra-cli[eval,plot]'`.
"""

import argparse
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from study.hear import Ears, hear, hearing_key, listening_of
from study.layers import step_times
from study.plots import draw
from study.recipe import Listening, Run, Study, digest_of, read_study, runs
from study.report import Entry, Result, summary
from study.train import Lab, train

import mamtra_cli
from mamtra_cli.errors import MamtraError

STUDIES = Path(__file__).parents[1] / "examples" / "experiments"
PHASES = ("train", "hear", "report")


def main(arguments: list[str] | None = None) -> int:
    """Run a study, or the phases of it that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="name or TOML file")
    parser.add_argument("--out", type=Path, default=Path("experiments"))
    parser.add_argument("--smoke", action="store_true", help="two rows, few steps")
    parser.add_argument("--phase", default=",".join(PHASES), help="of train, hear, report")
    parser.add_argument("--rows", default="", help="only rows whose name holds one of these words")
    parser.add_argument("--seeds", type=int, default=0, help="only so many of each row; 0 is all")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another size of it, such as distill.steps=300; may be repeated",
    )
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    path = Path(given.study)
    path = path if path.suffix == ".toml" else STUDIES / f"{given.study}.toml"
    try:
        study = read_study(path, smoke=given.smoke, changes=given.set)
        folder = given.out / (f"{path.stem}-smoke" if given.smoke else path.stem)
        work(study, path.stem, folder, given)
    except MamtraError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def work(study: Study, name: str, folder: Path, given: argparse.Namespace) -> None:
    """Do phases of a study in a folder."""
    phases = given.phase.split(",")
    if given.rows:
        words = given.rows.split(",")
        rows = tuple(row for row in study.row if any(word in row.name for word in words))
        study = replace(study, row=rows)
    if given.seeds:
        rows = tuple(replace(row, seeds=row.seeds[: given.seeds]) for row in study.row)
        study = replace(study, row=rows)
    lab = Lab(study.teacher, study.data, folder, say)
    listed = list(runs(study, lab.n_layers, lab.lessons))
    if "train" in phases:
        for run in listed:
            train(lab, run)
    if "hear" in phases:
        listen(lab, study, listed)
    if "report" in phases:
        report(lab, study, name, listed)


def listen(lab: Lab, study: Study, listed: list[Run]) -> None:
    """Let the teacher and every trained row speak."""
    if not longest(study).sentences:
        return
    ears = Ears()
    hear_teacher(lab, study, ears)
    for run in listed:
        how = listening_of(study.listening, run.row.sentences)
        if how.sentences and lab.ledger.get("train", run.digest) is not None:
            hear(lab, ears, run.digest, run.name, lab.student(run), how)


def hear_teacher(lab: Lab, study: Study, ears: Ears) -> Entry:
    """The teacher on as many sentences as any row."""
    return hear(lab, ears, teacher_digest(lab), "teacher", None, longest(study))


def longest(study: Study) -> Listening:
    """As many sentences as any row is heard on."""
    most = max(listening_of(study.listening, row.sentences).sentences for row in study.row)
    return replace(study.listening, sentences=most)


def teacher_digest(lab: Lab) -> str:
    """What the teacher's transcripts are kept under."""
    return f"teacher-{lab.hash_of('lm')}"


def report(lab: Lab, study: Study, name: str, listed: list[Run]) -> None:
    """Print what is done so far as Markdown and draw it."""
    results = collect(lab, study, listed)
    if not results:
        say("no row is done yet")
        return
    teacher = lab.ledger.get("heard", hearing_key(lab, teacher_digest(lab), longest(study)))
    text = summary(study, results, teacher, timed(lab, study))
    print(text)
    print(
        f"mamtra {mamtra_cli.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, one thread; language model "
        f"{lab.hash_of('lm')}, flow and vocoder {lab.hash_of(*lab.sound)}"
    )
    (lab.folder / f"{name}.md").write_text(text, encoding="utf-8")
    draw(name, results, teacher, lab.folder / f"{name}.svg")


def timed(lab: Lab, study: Study) -> dict[str, dict[str, float]]:
    """Step times of the study's mixers, measured once, in one run."""
    if not study.layer_rounds:
        return {}
    mixers = {run.row.name: run.mixer for run in runs(study, lab.n_layers, lab.lessons)}
    named = {name: one.to_dict() for name, one in mixers.items()}
    key = digest_of([study.layer_rounds, study.layer_contexts, named])
    found = lab.ledger.get("steps", key)
    if found is None:
        say(f"steps of {len(mixers)} mixers, {study.layer_rounds} rounds")
        times = step_times(mixers, study.layer_rounds, study.layer_contexts)
        found = lab.ledger.put("steps", key, times=times)
    told: dict[str, dict[str, float]] = found["times"]
    return told


def collect(lab: Lab, study: Study, listed: list[Run]) -> list[Result]:
    """The rows of which at least one seed is trained; rows that share their runs are one."""
    results: dict[tuple[str, ...], Result] = {}
    for row in study.row:
        done = [
            (run, entry)
            for run in listed
            if run.row.name == row.name and (entry := lab.ledger.get("train", run.digest))
        ]
        if not done:
            continue
        how = listening_of(study.listening, row.sentences)
        keys = [hearing_key(lab, run.digest, how) for run, _ in done]
        heard = [entry for key in keys if (entry := lab.ledger.get("heard", key))]
        digests = tuple(run.digest for run, _ in done)
        if digests in results:
            name = f"{results[digests].name}, {row.name.partition(' ')[2]}"
            results[digests] = replace(results[digests], name=name)
            continue
        results[digests] = Result(
            name=row.name,
            runs=tuple(run for run, _ in done),
            trained=tuple(entry for _, entry in done),
            heard=tuple(heard),
        )
    return list(results.values())


def say(text: str) -> None:
    """Tell progress on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
