"""The CUDA driver API by ctypes: load PTX, launch on the caller's stream.

It works in the context that is current in the calling thread; PyTorch's is, once a tensor lives on the device.
"""

import ctypes

LOG_BYTES = 1 << 14
# Values of enumerations in cuda.h.
JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 5, 6
FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8
# What a kernel has without asking for more (CUDA C++ Programming Guide, compute capabilities).
SHARED_WITHOUT_ASKING = 48 << 10


class DriverError(Exception):
    """A call of the driver failed."""


class Driver:
    def __init__(self):
        try:
            self.lib = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise DriverError(f"no CUDA driver: {error}") from None
        self.check("cuInit", self.lib.cuInit(0))

    def check(self, call, status, detail=""):
        if status:
            text = ctypes.c_char_p()
            self.lib.cuGetErrorString(status, ctypes.byref(text))
            what = (text.value or b"unknown error").decode()
            raise DriverError(f"{call}: {what} ({status}){detail and ': ' + detail}")


class Module:
    """PTX, compiled by the driver. The module lives until the process ends."""

    def __init__(self, driver, ptx):
        self.driver = driver
        self.handle = ctypes.c_void_p()
        self.functions = {}
        log = ctypes.create_string_buffer(LOG_BYTES)
        options = (ctypes.c_int * 2)(JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), LOG_BYTES)
        text = ctypes.c_char_p(ptx.encode() + b"\0")
        status = driver.lib.cuModuleLoadDataEx(ctypes.byref(self.handle), text, 2, options, values)
        driver.check("cuModuleLoadDataEx", status, log.value.decode(errors="replace").strip())

    def function(self, entry, shared_bytes):
        if (entry, shared_bytes) not in self.functions:
            handle, lib = ctypes.c_void_p(), self.driver.lib
            self.driver.check("cuModuleGetFunction", lib.cuModuleGetFunction(ctypes.byref(handle), self.handle, entry.encode()))
            if shared_bytes > SHARED_WITHOUT_ASKING:
                status = lib.cuFuncSetAttribute(handle, FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes)
                self.driver.check("cuFuncSetAttribute", status)
            self.functions[entry, shared_bytes] = handle
        return self.functions[entry, shared_bytes]

    def prepare(self, launch):
        """A function of a stream's handle that does the launch; all marshalling happens here, none when it is called."""
        function = self.function(launch.entry, launch.shared_bytes)
        cells = [ctypes.create_string_buffer(value, 16) for value in launch.params]
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
        grid_and_block = [ctypes.c_uint(n) for n in (launch.blocks, 1, 1, *launch.block)]
        shared, raw, check = ctypes.c_uint(launch.shared_bytes), self.driver.lib.cuLaunchKernel, self.driver.check

        def run(stream, _keep=cells):
            check("cuLaunchKernel", raw(function, *grid_and_block, shared, ctypes.c_void_p(stream), pointers, None))

        return run
