"""Load generators: processes of callers of a gRPC server, in a closed loop or at a fixed rate.

    job.py        the job and the outcome of a process, as JSON
    requests.py   serialized requests
    process.py    the process; closed.py and open.py have its loops, tally.py counts its calls
    fleet.py      start several processes and combine their outcomes
    echo.py       a bare gRPC server as the baseline

Callers send serialized requests and do not use the public client.
"""
