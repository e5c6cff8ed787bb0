"""A local stand-in for the Hugging Face hub."""
