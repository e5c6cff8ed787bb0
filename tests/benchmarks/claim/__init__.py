"""The pre-registered claim: does aligning images with genes help, and does hyperbolic space?"""
