# What a notebook shows leaves the sandbox as lines of JSON; these were not written by a shell.
import json
import os

LINES = [
    {"cell": -1},
    {"cell": 10**30},
    {"cell": [0]},
    {"cell": "1"},
    {"cell": True},
    {"clear": True},
    {"output": 7},
    {"output": {"output_type": "stream", "name": "stdout", "text": "a"}},
    {"output": {"output_type": "stream", "name": "stdout", "text": ["b", "c"]}},
    {"output": {"output_type": "stream", "name": "stdout", "text": "\ud800"}},
    {"output": {"output_type": "stream", "name": "stdout"}},
    {"output": {"output_type": "error", "ename": [], "evalue": {}, "traceback": "x"}},
    {"output": {"output_type": "execute_result", "data": {"text/plain": "7.0"}, "metadata": {}}},
    {"output": {"output_type": "pyout", "text": "7.0"}},
    {"done": True, "cell": 0, "output": None},
    {"done": "no"},
    [],
    None,
    "done",
]
frames = [json.dumps(line).encode() + b"\n" for line in LINES]
frames += [
    b"[" * 100_000 + b"\n",
    b"\xff\xfe\n",
    b"\n" * 1000,
    b'{"cell": NaN}\n',
    b"1" * 9999 + b"\n",
]
for descriptor in range(3, 64):
    for frame in frames:
        try:
            os.write(descriptor, frame)
        except OSError:
            break
