"""Evaluation: few-shot episodes → prompts (Documents) → a model seen through two calls → scores with intervals.

    episodes.py    one question with its shots            metrics/      pure functions: text in, numbers out
    tasks.py       episodes and how to score them         model.py      the two calls, and the MM1 that answers them
    world.py, naming.py   tasks that need no files        official/     benchmarks from their authors' files
    runner.py      a model over tasks and shot counts     intervals.py  bootstrap intervals
    asking.py      questions put, answers kept            published.py  the paper's table, for comparison
    results.py     the JSON files, as values

Knows nothing of training, nor of which tasks a recipe runs.
"""
