def write(path, results, keys, wanted):
    pass
