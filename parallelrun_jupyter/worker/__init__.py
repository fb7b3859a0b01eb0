"""What runs inside a worker process: standard library only, Python 3.7 and newer.

It imports nothing of the package around it, since it is started as a bare folder, by path, under
whatever interpreter the run names. The engine imports ``protocol`` and ``status_page`` from here,
so that both ends of a pipe share one description of it.
"""
