import subprocess
import sys

STARTED = """
import gc
from mamtra_cli.cli.app import COLLECT_AFTER, start_without_looks

class Circle:
    living = 0

    def __init__(self):
        self.self = self
        Circle.living += 1

    def __del__(self):
        Circle.living -= 1

usual = gc.get_threshold()
start_without_looks()
before = gc.get_threshold()[0]
kept = [[] for _ in range(COLLECT_AFTER + 1)]
after, watchers = gc.get_threshold(), list(gc.callbacks)
for _ in range(10 * usual[0]):
    Circle()
print(before == COLLECT_AFTER, after == usual, watchers == [], Circle.living <= usual[0])
"""


def test_a_process_that_goes_on_looks_for_garbage_as_python_does() -> None:
    ran = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True)
    assert ran.stdout.split() == ["True"] * 4, ran.stderr
