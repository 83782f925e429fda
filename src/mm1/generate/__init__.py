"""Generation: prompts of token ids and pixels in, token ids and log-probabilities out.

    request.py   what is asked and what comes back      prefill.py    prompts → cached keys and values
    batching.py  who is computed together (pure)        sampling.py   logits → a token
    engine.py    the two calls, generate and loglikelihood

Knows nothing of text, tasks or HTTP.
"""
