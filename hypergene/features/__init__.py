"""From tiles to features on a device, the context of a slide, and a cache of arrays."""
