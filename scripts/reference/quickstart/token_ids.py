"""Records what transformers' AutoTokenizer makes of the shipped tokenizer: tests/golden/quickstart/token-ids.json.

    python scripts/reference/quickstart/token_ids.py

To be run again whenever quickstart/base/tokenizer.json changes.
"""

import json
from pathlib import Path

from transformers import AutoTokenizer

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    "",
    "  ",
    "Hello  world \n\n x\t y",
    "on Tuesday, the third of March, nineteen eighty-four\nISO: 1984-03-03",
    "First Citizen:\nBefore we proceed any further, hear me speak.",
    "Question: Weng earns $12.50 an hour. How much is 3/4 of 1,205?\nAnswer:",
    "don't we'll I'd 's",
    "½ cup² Ⅷ ٣",
    "naïve café e\u0301 日本語 🙂👍🏽",
    "a\r\nb \u00a0nbsp \u2003em",
]

tokenizer = AutoTokenizer.from_pretrained(ROOT / "quickstart" / "base")
records = [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in TEXTS]
out = ROOT / "tests" / "golden" / "quickstart" / "token-ids.json"
out.write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")
