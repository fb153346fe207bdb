"""Writes tests/golden/data/rows.parquet (three row groups, Snappy and Zstandard) and resize.json (PIL's pixels).

Usage: python scripts/reference/data/rows_golden.py [resize|preprocess|parquet ...]
resize.json was recorded with Pillow 11.3.0, which always resizes horizontally first; Pillow 13.0.0 chooses the order
of the two passes by a rule of its own and gives other bytes for about a third of random sizes. The file names the version.
preprocess.json was recorded with Pillow 13.0.0 (transformers 5.23.0).
"""
import json, os, sys
import numpy as np

out = os.path.join(os.path.dirname(__file__), "..", "..", "..", "tests", "golden", "data")


def parquet():
    import pyarrow as pa, pyarrow.parquet as pq
    rows = [{"text": f"row {i} é", "label": i % 3, "messages": [{"role": "user", "content": f"q{i}"}]} for i in range(25)]
    pq.write_table(pa.Table.from_pylist(rows), os.path.join(out, "rows.parquet"), row_group_size=10,
                   compression={"text": "snappy", "label": "zstd"})


def resize():
    from PIL import Image
    rng = np.random.default_rng(0)
    cases = []
    for h, w, c in [(13, 17, 3), (5, 4, 3), (11, 9, 1)]:
        pixels = rng.integers(0, 256, (h, w, c), dtype=np.uint8)
        image = Image.fromarray(pixels if c == 3 else pixels[:, :, 0])
        for th, tw in [(6, 8), (16, 20), (h, 3)]:
            for name, f in [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)]:
                cases.append({"shape": [h, w, c], "pixels": pixels.ravel().tolist(), "to": [th, tw], "filter": name,
                              "expected": np.asarray(image.resize((tw, th), f)).ravel().tolist()})
    import PIL
    json.dump({"pillow": PIL.__version__, "cases": cases}, open(os.path.join(out, "resize.json"), "w"))


def vit():
    import numpy as np
    from PIL import Image
    from transformers import ViTImageProcessor
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (10, 15, 3), dtype=np.uint8)
    config = {"do_resize": True, "size": {"height": 6, "width": 6}, "resample": 2, "image_mean": [0.4, 0.5, 0.6],
              "image_std": [0.2, 0.25, 0.3], "rescale_factor": 1 / 255, "do_normalize": True, "do_rescale": True}
    values = ViTImageProcessor(**config)(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    json.dump({"shape": [10, 15, 3], "pixels": pixels.ravel().tolist(), "config": config, "expected": values.ravel().tolist()},
              open(os.path.join(out, "preprocess.json"), "w"))


steps = {"resize": resize, "preprocess": vit, "parquet": parquet}
for step in [steps[name] for name in sys.argv[1:] or steps]:
    try:
        step()
    except ImportError as error:
        print(step.__name__, "skipped:", error, file=sys.stderr)
