"""The lsst side: managers, storages and the registry binding."""
