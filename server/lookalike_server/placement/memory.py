"""Free memory of a GPU, as the driver reports it; faiss does not."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Memory in bytes."""

    free: int
    total: int


def device_memory(name: str) -> Memory | None:
    """Return the memory of the device "cuda:N"; None for other devices or if the driver does not answer.

    Devices are numbered as in faiss, so CUDA_VISIBLE_DEVICES applies. The figures include all
    processes.
    """
    kind, _, number = name.partition(":")
    driver = _driver() if kind == "cuda" and number.isdecimal() else None
    return None if driver is None else _query_driver(driver, int(number))


def _query_driver(driver: ctypes.CDLL, number: int) -> Memory | None:
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuDeviceGet(ctypes.byref(device), number):
        return None
    # The context that faiss uses too, so that no second one takes memory.
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return None
        failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
    return None if failed else Memory(free.value, total.value)


@functools.cache
def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver
