"""How busy a GPU is under this project, and under one process written by hand whose loader reads ahead.

``command`` has the options. ``devices`` has a module for each framework, and one for a device that sleeps;
``scripts`` has the entry scripts, ``ours`` submits them, ``by_hand`` is the process written by hand, and
``meters`` counts the seconds in which the device worked. With the device that sleeps, ``nvidia_smi`` stands
for NVIDIA's program.
"""
