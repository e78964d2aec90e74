"""Let the code that is reached guide what hypothesis draws: a longer search than a test can be.

`pip install atheris`, then `python tests/grading/fuzz_border.py test_events -max_total_time=300`,
with the name of any test of the border that hypothesis draws for, and options of libFuzzer.
"""

import sys
from pathlib import Path

import atheris

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = map(str, [REPOSITORY, REPOSITORY / "tests/grading", REPOSITORY / "tests/exercises"])

MEASURED = ["course_lib.border", "grading", "nbformat", "safetensors"]

with atheris.instrument_imports(include=MEASURED):
    import test_answers
    import test_border

if __name__ == "__main__":
    test = {**vars(test_answers), **vars(test_border)}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)
    atheris.Fuzz()
