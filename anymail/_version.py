__version__ = "16.0.dev0"

# A list for compatibility: earlier releases exposed their version string in one.
VERSION = [__version__]
