"""Search indexes over a space: what to build, building it, measuring its recall, and exact search to measure it by.

Also the arithmetic on vectors that clustering shares: metrics, samples, row-wise float64 sums.
"""
