"""Evaluation: few-shot episodes → prompts (Documents) → a model seen through two calls → scores with intervals.

    episodes.py  one question with its shots     metrics/      pure functions: text in, numbers out
    tasks.py     episodes and how to score them  intervals.py  bootstrap intervals
    runner.py    a model over tasks → JSON files  model.py      the two calls, and the MM1 that answers them

Knows nothing of training, nor of which tasks a recipe runs.
"""
