"""Records warped scores of transformers' logits processors: tests/golden/models/sampling.json.

Run from the repository root with torch and transformers installed:
    python scripts/reference/models/sampling.py
"""

import json
import math
from pathlib import Path

import torch
from transformers import (
    LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
    TopKLogitsWarper, TopPLogitsWarper,
)

OUT = Path("tests/golden/models/sampling.json")
VOCABULARY = 61
SETTINGS = [
    {"temperature": 0.7},
    {"temperature": 1.0, "topK": 5},
    {"temperature": 1.0, "topK": 500},
    {"temperature": 1.0, "topP": 0.9},
    {"temperature": 1.0, "topP": 0.05},
    {"temperature": 2.5, "topP": 0.75},
    {"temperature": 1.0, "minP": 0.1},
    {"temperature": 1.0, "minP": 1.0},
    {"temperature": 1.0, "repetitionPenalty": 1.3},
    {"temperature": 1.0, "repetitionPenalty": 0.8},
    {"temperature": 0.8, "topK": 20, "topP": 0.9, "minP": 0.05, "repetitionPenalty": 1.2},
    {"temperature": 1.7, "topK": 30, "topP": 0.6, "repetitionPenalty": 1.1},
]


def processors(s):
    # The order of transformers' GenerationMixin._get_logits_processor.
    result = LogitsProcessorList()
    if "repetitionPenalty" in s:
        result.append(RepetitionPenaltyLogitsProcessor(s["repetitionPenalty"]))
    result.append(TemperatureLogitsWarper(s["temperature"]))
    if "topK" in s:
        result.append(TopKLogitsWarper(s["topK"]))
    if "topP" in s:
        result.append(TopPLogitsWarper(s["topP"]))
    if "minP" in s:
        result.append(MinPLogitsWarper(s["minP"]))
    return result


def main():
    g = torch.Generator().manual_seed(5)
    cases = []
    for s in SETTINGS:
        logits = torch.randn(VOCABULARY, generator=g) * 3
        # Ties are part of the rules: top-k keeps all of them.
        logits[10] = logits[20] = logits[30]
        seen = torch.randint(VOCABULARY, (12,), generator=g)
        warped = processors(s)(seen[None], logits[None].clone())[0]
        cases.append({
            "sampling": s,
            "logits": logits.tolist(),
            "seen": seen.tolist(),
            "warped": [None if math.isinf(x) else x for x in warped.tolist()],
        })
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(cases))


main()
