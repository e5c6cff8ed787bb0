"""From tiles to features on a device, the context of a slide, and the cache of both."""
