"""The code of a worker process: standard library only, Python 3.7 and newer.

It imports nothing else from this package, since it is started as a folder, by path, under the
interpreter that the run selects. The engine imports ``protocol`` and ``status_page`` from here, so
that both ends of a pipe share one definition.
"""
