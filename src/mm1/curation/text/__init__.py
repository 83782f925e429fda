"""Clean text: rules, language, quality, and what is there twice; pure functions over plain values.

    text → rules.reason → language.identify → quality → exact.text_hash, minhash.signatures → near.find_duplicates

A text here is what `Extracted.text` gives: paragraphs with a blank line between two. Knows nothing of pages, of parts,
or of the engine that runs these functions over many of them.
"""
