"""Tasks in their authors' own files: a folder on disk in, few-shot episodes out.

    rows.py       one question, and what a folder of questions gives    templates.py   prompts, to be read
    captions.py   COCO, NoCaps, TextCaps                                extraction.py  answers out of raw outputs
    vqa.py        VQAv2, OK-VQA, TextVQA, VizWiz, GQA                   pictures.py    files by name, read late
    jsonl.py      a user's own questions                                selection.py   which examples precede a question
    omniglot.py   n-way k-shot episodes                                 fewshot.py     the task made of all that
    catalog.py    every task by name

Nothing is downloaded, and a picture is read when its prompt is made. Knows nothing of models.
"""
