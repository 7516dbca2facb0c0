"""Several processes in front of one: fronts take calls in, an engine process answers them, a supervisor starts both.

    supervisor.py   the process that people start: holds the port, starts the others, starts again those that end
    front.py        a gRPC server that hands its calls to the engine process
    engine.py       the process that owns collections, devices, network and experiments

frames.py is the socket between a front and the engine process, messages.py what passes through it.
"""
