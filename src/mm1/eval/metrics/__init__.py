"""Metrics as the official scorers compute them, in pure Python: text in, numbers out (fractions; papers print x100).

    ptb.py      the PTB tokeniser of the caption scorers     vqa.py         VQA accuracy and its answer normalisation
    caption.py  CIDEr-D, BLEU-1..4, ROUGE-L                  text.py        exact match, ANLS, relaxed accuracy
    files.py    a user's own file of answers, scored         benchmarks.py  POPE, MME, MMBench, the meta-average

Nothing here knows of episodes, tasks or models.
"""
