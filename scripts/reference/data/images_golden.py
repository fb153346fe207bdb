"""Writes jpeg.json (files, and the pixels that Pillow 13.0 decodes them to, upright) and images.parquet (rows as the
hub's image data sets have them, by pyarrow) to tests/golden/data.

Usage: python scripts/reference/data/images_golden.py [jpeg|parquet ...]
"""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

GOLDEN = Path(__file__).parents[3] / "tests/golden/data"
ORIENTATION = 0x0112


def picture(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(x / 3 + y / 5), 12 * x + 3 * y, 255 - 9 * y + 40 * (x > width // 2)]
    return Image.fromarray(np.clip(np.stack(planes, 2), 0, 255).astype(np.uint8))


def case(name: str, image: Image.Image, **options) -> dict:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=85, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue()))).convert("RGB")
    encode = lambda data: base64.b64encode(data).decode()
    return {
        "name": name,
        "jpeg": encode(file.getvalue()),
        "height": upright.height,
        "width": upright.width,
        "pixels": encode(np.asarray(upright).tobytes()),
    }


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def jpeg() -> None:
    image = picture(13, 19)
    cases = [
        case("baseline, colours halved", image),
        case("progressive", image, progressive=True),
        case("colours whole", image, subsampling=0),
        case("grey", image.convert("L")),
        *[case(f"orientation {o}", image, exif=turned(o)) for o in range(2, 9)],
    ]
    (GOLDEN / "jpeg.json").write_text(json.dumps(cases))


def parquet() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def png(grey: int) -> bytes:
        file = io.BytesIO()
        Image.new("L", (2, 2), grey).save(file, "png")
        return file.getvalue()

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"image": {"bytes": png(0), "path": "black.png"}, "label": 0},
        {"image": {"bytes": png(255), "path": None}, "label": 2},
    ]
    schema = pa.schema([("image", image), ("label", pa.int64())])
    pq.write_table(pa.Table.from_pylist(rows, schema), GOLDEN / "images.parquet")


for name in sys.argv[1:] or ["jpeg", "parquet"]:
    {"jpeg": jpeg, "parquet": parquet}[name]()
