"""Single-device modules: image encoder, connector, decoder, MM1, CLIP; their weights and their counts."""
