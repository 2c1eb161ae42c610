"""A folder of samples, and a page that plays them side by side: what a conversion does to a voice.

    python examples/mini/samples.py --model teacher=mini --model "1:1 as converted"=s11 \
      --model "1:1 distilled"=t11 --model "1:3"=t13 --out samples \
      [--source --tables package/voices --work work/natural]

One row a sentence, one column a model, the source (what taught the voice) first where
`--source` asks for it. The page is one static file beside its WAV files; it asks nothing of the
network.
"""

import argparse
import html
from pathlib import Path

import soundfile
import torch
from judge import SENTENCES, Waves, add_source, source_says, spoken

from mamtra_cli.engine.model import Engine

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Samples</title>
<style>
 body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
   color-scheme: light dark }}
 th, td {{ padding: .4rem .8rem; text-align: left; vertical-align: middle }}
 audio {{ width: 14rem }}
</style>
<h1>Samples of {voice}</h1>
<p>Nothing selected; one seed a sentence. All of it is synthetic speech.</p>
<table><tr><th scope="col">sentence</th>{heads}</tr>
{rows}
</table></html>
"""


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", required=True, help="LABEL=MODEL")
    parser.add_argument("--voice", default="anna")
    parser.add_argument("--limit", type=int, default=8, help="sentences")
    parser.add_argument("--source", action="store_true", help="what taught the voice, too")
    add_source(parser)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    texts = [t for t in SENTENCES.read_text("utf-8").splitlines() if t.strip()][: args.limit]
    columns: dict[str, Waves] = {}
    if args.source:
        columns["source"] = source_says(args.voice, texts, args).waves
    rate = 0
    for pair in args.model:
        label, _, name = pair.rpartition("=")
        engine = Engine.load(name, device="cpu", threads=1)
        columns[label or name], rate = spoken(engine, args.voice, texts), engine.sample_rate
    for place, waves in enumerate(columns.values()):
        for i, wave in enumerate(waves):
            soundfile.write(args.out / f"{place}-{i:02d}.wav", wave, rate)
    rows = []
    for i, text in enumerate(texts):
        cells = "".join(
            f'<td><audio controls preload="none" src="{place}-{i:02d}.wav" '
            f'aria-label="{html.escape(f"{column}, sentence {i + 1}")}"></audio></td>'
            for place, column in enumerate(columns)
        )
        rows.append(f'<tr><th scope="row">{html.escape(text)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    page = PAGE.format(voice=html.escape(args.voice), heads=heads, rows="\n".join(rows))
    (args.out / "index.html").write_text(page, "utf-8")
    print(args.out / "index.html")


if __name__ == "__main__":
    main()
