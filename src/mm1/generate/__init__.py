"""Generation: prompts of token ids and pixels in, token ids and log-probabilities out.

    request.py   what is asked and what comes back      prefill.py     prompts → cached keys and values
    batching.py  who is computed together (pure)        memory.py      what is kept for later prompts
    engine.py    the two calls, generate and            sampling.py    logits → a token
                 loglikelihood                          statistics.py  what was done, as values

Knows nothing of text, tasks or HTTP.
"""
