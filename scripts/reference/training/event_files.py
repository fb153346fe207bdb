"""TensorBoard's own writer and reader against src/training/tensorboard.ts.

Record the golden file:  python scripts/reference/training/event_files.py record
Read what we wrote:      python scripts/reference/training/event_files.py read FOLDER   (prints the scalars as JSON)
"""

import io
import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

GOLDEN = pathlib.Path(__file__).parents[3] / "tests/golden/training/tensorboard.json"

EVENTS = [
    {"wallTime": 1700000000.25, "fileVersion": "brain.Event:2"},
    {"wallTime": 1700000001.5, "step": 7, "sessionStart": True},
    {"wallTime": 1700000002.0, "step": 300, "scalars": {"train/loss": 2.3456, "train/rate": 0.0003, "größe": -1.0}},
    {"wallTime": 1700000003.0, "step": 5000000000, "scalars": {"x" * 200: 0.0}},
]


def event(e):
    summary = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in e.get("scalars", {}).items()])
    return Event(
        wall_time=e["wallTime"],
        step=e.get("step", 0),
        file_version=e.get("fileVersion"),
        summary=summary if "scalars" in e else None,
        session_log=SessionLog(status=SessionLog.START) if e.get("sessionStart") else None,
    )


def record():
    out = io.BytesIO()
    writer = RecordWriter(out)
    for e in EVENTS:
        writer.write(event(e).SerializeToString(deterministic=True))
    writer.flush()
    GOLDEN.write_text(json.dumps({"events": EVENTS, "hex": out.getvalue().hex()}))


def read(folder):
    accumulator = EventAccumulator(folder, purge_orphaned_data=True)
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    print(json.dumps({tag: [[s.step, s.value] for s in accumulator.Scalars(tag)] for tag in tags}))


record() if sys.argv[1] == "record" else read(sys.argv[2])
