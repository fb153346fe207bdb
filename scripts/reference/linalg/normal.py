"""Records quantiles of the normal distribution (scipy.stats.norm.ppf) in tests/golden/linalg/normal.json."""

import json
from pathlib import Path

import scipy
from scipy.stats import norm

p = [0.5, 0.975, 0.9, 0.076, 1e-3, 2.0**-33, 1e-10, 2.0**-53, 1e-30]
out = Path(__file__).parents[3] / "tests/golden/linalg/normal.json"
out.write_text(json.dumps({"scipy": scipy.__version__, "p": p, "z": [float(norm.ppf(x)) for x in p]}) + "\n")
