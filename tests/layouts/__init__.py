"""Small sections on disk in the real layout of every platform and tool, as labs have them."""
