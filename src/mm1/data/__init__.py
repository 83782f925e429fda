"""From documents to batches: shards, sources, tokenizer, images, packing, the mixture plan, the loader.

    Source ──Document──> DocumentEncoder ──Sample──> Loader ──Batch──> a model
       └──lengths──> Plan (which documents, in which pack, at which step) ──┘

Data order is a pure function of (seed, step): nothing here has a state that a resumed run would have to restore.
Knows nothing of models; how many positions an image takes is given to it as a number.
"""
