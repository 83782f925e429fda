"""Benchmarks of fine-tuned models in their authors' own files: a chat's question in, an official figure out.

    questions.py  a question, its prompt, and the task made of them    scoring.py  answers to scores and figures
    readers.py    files of one JSON or one folder                      parsing.py  answers out of free text
    packed.py     files that hold the pictures themselves              judged.py   answers that another model marks
    catalog.py    every one of them by name

Questions are put as LLaVA-1.5 puts them, without examples, and answered greedily. Knows nothing of models.
"""
