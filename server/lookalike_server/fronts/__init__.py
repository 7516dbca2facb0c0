"""Several processes in one server: fronts take calls, an engine process answers them, a supervisor starts all.

    supervisor.py         process that the user starts: holds the port, starts and restarts the others
    member.py             a child process, as the supervisor sees it
    control.py            a child process's own main loop and its pipe to the supervisor
    front.py              front process: a gRPC server that hands calls to the engine process
    front_calls.py        which calls a front answers itself
    front_engine.py       search engine of a front, which asks the engine process
    front_generations.py  generations that a front has mapped
    own_call.py           a call that a front answers itself
    engine_link.py        a front's connection to the engine process
    frames.py             frames on the socket between a front and the engine process
    messages.py           encoding of forwarded calls and replies
    array_messages.py     encoding of searches as arrays
    engine.py             engine process: owns collections, devices, network, and experiments
    engine_entrance.py    engine's side of the sockets: accepts the fronts' calls
    array_calls.py        engine's side of calls that fronts answer themselves
    shares.py             generations that the engine process shares with fronts
    shared_generation.py  description of a shared generation, and how a front opens it

Data flow of a call: front.py, frames.py, engine_entrance.py, and back.
"""
