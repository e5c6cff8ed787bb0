"""The network: image encoder, gene encoder, niche, head and their configuration.

Everything here is ``torch.nn``: nothing opens a slide or a data file. Importing this package costs
nothing; the modules that need torch are imported where they are used.
"""
