"""Talking to a model: chat.py keeps a conversation. Knows nothing of training."""
