"""Carries image towers of Hugging Face's transformers into timm networks that compute the same."""
