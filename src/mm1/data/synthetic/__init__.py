"""A small seeded world with ground truth: scenes, pages about them, and text that only text can teach.

    vocabulary → scenes → render → pages, text ─┬→ source
                 chart, written → printed ───────┘

Everything is a pure function of (seed, source name, document number). What stands in a `train` page never stands in a
`test` page: scenes, sums and phrasings are divided by a hash of their content. It knows no tokenizer and no model.
"""
