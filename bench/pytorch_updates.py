"""Updates of a model with random weights on random tokens, eager, float32, on two threads: one for each line read."""

import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def random_model(config):
    """A language model of a config.json."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


def answer_lines(model, optimizer, batch, before=lambda update: None, after=lambda update: None):
    """Reads numbers of updates, counted from 1, does each, and prints its milliseconds. `after` is a part of it."""
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    ids = torch.randint(0, model.config.vocab_size, batch)
    for line in sys.stdin:
        before(int(line))
        start = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        after(int(line))
        optimizer.zero_grad(set_to_none=True)
        print(1000 * (time.perf_counter() - start), flush=True)
