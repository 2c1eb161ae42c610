#!/usr/bin/env bash
# The whole life of a model in a few minutes, offline: speak, convert, compare, learn, speak again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-$(mktemp -d)}
steps=${STEPS:-60}
tokens=${TOKENS:-18000}
sentences=${SENTENCES:-10}
cd "$work"

mamtra synth "This is the teacher." -o teacher.wav --force
mamtra convert mini --config "$here/convert-1-1.toml" --calibration-tokens 2048 -o student --force
mamtra distill student --config "$here/distill-mini.toml" --steps "$steps" --synthetic "$tokens" \
  --report-sentences "$sentences" -o tuned --force
mamtra synth "This is the student, after a short lesson." -m tuned -o tuned.wav --force
mamtra push tuned example/tuned --dry-run
echo "look into $work" >&2
