"""Vision-language models behind one protocol; ``hf`` adapts Hugging Face checkpoints."""
