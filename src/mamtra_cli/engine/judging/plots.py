"""Pictures of an evaluation, by matplotlib (extra `plot`), without a display.

Word errors by length of the sentence, lengths of the student's speech against the teacher's, and
spectrograms of the samples in pairs. Knows what an `Evaluation` is; writes PNG files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mamtra_cli.engine.judging.evaluation import Evaluation, Sample
from mamtra_cli.engine.judging.scoring import Record, Scored
from mamtra_cli.engine.pictures import need_matplotlib

BINS = 5
DPI = 100
WINDOW, HOP = 1024, 256  # samples of the spectrograms
FLOOR = -80.0  # dB under the loudest


def draw_plots(folder: Path, evaluation: Evaluation) -> dict[str, str]:
    """Draw everything into a folder; returns file names with a caption each.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    found = {}

    def save(name: str, caption: str, figure: Any) -> None:
        figure.tight_layout()
        figure.savefig(folder / name, dpi=DPI, metadata={"Software": None})
        found[name] = caption

    def blank(columns: int = 1, rows: int = 1, height: float = 3.5) -> tuple[Any, Any]:
        figure = Figure(figsize=(7.0, height))
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False)

    models = [one for one in (evaluation.student, evaluation.teacher) if one is not None]
    figure, axes = blank()
    _errors_by_length(axes[0, 0], models)
    save("wer-by-length.png", "Word errors by length of the sentence", figure)
    figure, axes = blank()
    _lengths(axes[0, 0], evaluation)
    save("lengths.png", "Length of the speech", figure)
    if evaluation.samples:
        width = 2 if evaluation.teacher is not None else 1
        rows = len(evaluation.samples)
        figure, axes = blank(width, rows, 1.8 * rows + 0.6)
        for row, sample in zip(axes, evaluation.samples, strict=True):
            _spectrograms(row, sample, evaluation.sample_rate)
        for axis, scored in zip(axes[-1], models, strict=True):
            axis.set_xlabel(f"{scored.model}, s")
        save("spectrograms.png", "Spectrograms of the samples: student, teacher", figure)
    return found


def length_bins(records: Sequence[Record]) -> list[tuple[int, int, float]]:
    """Shortest and longest words of about equally filled bins, with the pooled errors of each.

    Sentences of one length stay together, so that no length is in two bins.
    """
    order = sorted(records, key=lambda record: record.errors.words)
    parts = np.array_split([record.errors.words for record in order], min(BINS, len(order)))
    ends = sorted({int(part[-1]) for part in parts})
    found = []
    for before, end in zip([0, *ends], ends, strict=False):
        group = [record for record in order if before < record.errors.words <= end]
        words = sum(record.errors.words for record in group)
        errors = sum(record.errors.errors for record in group)
        found.append((group[0].errors.words, group[-1].errors.words, errors / words))
    return found


def _errors_by_length(axis: Any, models: Sequence[Scored]) -> None:
    for number, scored in enumerate(models):
        bins = length_bins(scored.records)
        places = np.arange(len(bins)) + 0.4 * number
        axis.bar(places, [100 * rate for _, _, rate in bins], width=0.38, label=scored.model)
        axis.set_xticks(
            np.arange(len(bins)) + 0.2 * (len(models) - 1),
            [f"{low}" if low == high else f"{low}-{high}" for low, high, _ in bins],
        )
    axis.set_xlabel("words in the sentence")
    axis.set_ylabel("word errors, %")
    axis.legend()


def _lengths(axis: Any, evaluation: Evaluation) -> None:
    student = evaluation.student.records
    if evaluation.teacher is not None:
        pairs = [
            (b.seconds, a.seconds)
            for a, b in zip(student, evaluation.teacher.records, strict=True)
            if not (a.refused or b.refused)
        ]
        axis.set_xlabel(f"{evaluation.teacher.model}, s")
    else:
        pairs = [(float(one.errors.words), one.seconds) for one in student if not one.refused]
        axis.set_xlabel("words in the sentence")
    axis.scatter([x for x, _ in pairs], [y for _, y in pairs], s=14)
    if evaluation.teacher is not None and pairs:
        longest = max(max(pair) for pair in pairs)
        axis.plot([0, longest], [0, longest], linewidth=1, color="grey")
    axis.set_ylabel(f"{evaluation.student.model}, s")


def _spectrograms(row: Any, sample: Sample, rate: int) -> None:
    waves = [sample.student_wave, sample.teacher_wave]
    for axis, wave in zip(row, [one for one in waves if one is not None], strict=True):
        axis.imshow(
            spectrogram(wave),
            origin="lower",
            aspect="auto",
            extent=(0, len(wave) / rate, 0, rate / 2000),
            vmin=FLOOR,
            vmax=0,
        )
        axis.set_ylabel("kHz")
    row[0].set_title(sample.student.text[:60], fontsize=8, loc="left")


def spectrogram(wave: "np.ndarray[Any, np.dtype[np.float32]]") -> Any:
    """Power in dB under the loudest point: (WINDOW // 2 + 1, frames). wave: (S,)."""
    padded = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    loudest = max(float(power.max()), 1e-12)
    return np.maximum(10 * np.log10(power / loudest + 1e-12), FLOOR).T
