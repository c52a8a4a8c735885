//! Launching on NVIDIA GPUs through the driver.
