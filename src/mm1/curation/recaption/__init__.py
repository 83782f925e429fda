"""Synthetic captions: a model says what an image shows, a second one merges that with the alt text (VeCap).

    prompts.py   in which words they are asked        writers.py       who is asked: what is made of any model
    pairs.py     what is captioned                    addresses.py     … behind an address
    answers.py   whether an answer is a caption       checkpoints.py   … from a folder
    journal.py   every answer as it came              asking.py        pairs → captioned pairs
    output.py    the set that comes out               run.py           files → files

Lai et al. 2023 (arXiv 2310.07699). Knows nothing of how models work.
"""
